# A small stand-in for nixpkgs' lib, written for these tests: what nix/ calls, and a module system (modules.nix,
# types.nix).
#
# Wherever $NIXPKGS is at hand the same tests run on the real one, so what differs there is a fault of this file.
let
  inherit (builtins)
    attrNames
    attrValues
    concatLists
    concatStringsSep
    elem
    filter
    foldl'
    genList
    head
    isFunction
    isList
    length
    listToAttrs
    map
    mapAttrs
    match
    replaceStrings
    stringLength
    substring
    tail
    ;

  plain = rec {
    inherit (builtins)
      all
      any
      attrNames
      attrValues
      concatLists
      concatMap
      concatStringsSep
      elem
      elemAt
      filter
      foldl'
      functionArgs
      genList
      hasAttr
      head
      isAttrs
      isFunction
      isList
      isString
      length
      listToAttrs
      mapAttrs
      match
      replaceStrings
      seq
      sort
      stringLength
      substring
      tail
      ;
    isPath = value: builtins.typeOf value == "path";
    isStringLike = value: builtins.isString value || isPath value || (builtins.isAttrs value && value ? outPath);

    id = value: value;

    toList = value: if isList value then value else [ value ];
    last = list: builtins.elemAt list (length list - 1);
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: list: if condition then list else [ ];
    unique = foldl' (seen: value: if elem value seen then seen else seen ++ [ value ]) [ ];
    concatMapAttrs = f: set: foldl' (all: name: all // f name set.${name}) { } (attrNames set);

    optionalAttrs = condition: set: if condition then set else { };
    nameValuePair = name: value: { inherit name value; };
    genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
    mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (attrNames set));
    mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
    filterAttrs =
      predicate: set: removeAttrs set (filter (name: !predicate name set.${name}) (attrNames set));
    attrByPath =
      path: default: set:
      if path == [ ] then
        set
      else if builtins.isAttrs set && set ? ${head path} then
        attrByPath (tail path) default set.${head path}
      else
        default;
    setAttrByPath = path: value: if path == [ ] then value else { ${head path} = setAttrByPath (tail path) value; };
    recursiveUpdate =
      a: b:
      if builtins.isAttrs a && builtins.isAttrs b then
        a // mapAttrs (name: value: if a ? ${name} then recursiveUpdate a.${name} value else value) b
      else
        b;

    optionalString = condition: text: if condition then text else "";
    concatMapStringsSep =
      separator: f: list:
      concatStringsSep separator (map f list);
    concatMapStrings = concatMapStringsSep "";
    concatStrings = concatStringsSep "";
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    hasSuffix =
      suffix: text:
      let
        start = stringLength text - stringLength suffix;
      in
      start >= 0 && substring start (stringLength suffix) text == suffix;
    hasInfix = infix: text: length (filter builtins.isString (builtins.split (escapeRegex infix) text)) > 1;
    removePrefix =
      prefix: text:
      if hasPrefix prefix text then substring (stringLength prefix) (stringLength text) text else text;
    removeSuffix =
      suffix: text:
      if hasSuffix suffix text then substring 0 (stringLength text - stringLength suffix) text else text;
    stringToCharacters = text: genList (i: substring i 1 text) (stringLength text);
    escapeRegex = text: replaceStrings regexCharacters (map (c: "\\" + c) regexCharacters) text;
    regexCharacters = stringToCharacters "\\[{()^$?*+|.";
    splitString = separator: text: filter builtins.isString (builtins.split (escapeRegex separator) text);
    escapeXML = lib.replaceStrings [ "\"" "'" "<" ">" "&" ] [ "&quot;" "&apos;" "&lt;" "&gt;" "&amp;" ];
    escapeShellArg =
      argument:
      let
        text = toString argument;
      in
      if match "[[:alnum:],._+:@%/-]+" text != null then text else "'${replaceStrings [ "'" ] [ "'\\''" ] text}'";
    escapeShellArgs = concatMapStringsSep " " escapeShellArg;
    lowPrio = package: package // { meta = (package.meta or { }) // { priority = 10; }; };
    getExe = package: "${package}/bin/${package.meta.mainProgram or package.pname or package.name}";
    makeBinPath = concatMapStringsSep ":" (package: "${package}/bin");
    min = a: b: if a < b then a else b;
    fileset = {
      toSource =
        { root, fileset }:
        {
          outPath = toString root;
          paths = map toString fileset;
        };
      unions = id;
    };
    licenses.mit = { spdxId = "MIT"; };
    platforms.linux = [ "x86_64-linux" "aarch64-linux" ];
    trivial.release = "26.11";

    generators.toPretty = _: value: builtins.toJSON value;
  };

  lib =
    plain
    // import ./modules.nix lib
    // {
      types = import ./types.nix lib;
      inherit (lib.types) mkOptionType;
      isFunction = value: isFunction value || (builtins.isAttrs value && value ? __functor);
    };
in
lib
