# A small stand-in for nixpkgs' lib, written for these tests: what nix/ calls, and a module system (modules.nix, types.nix).
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
    const = value: _: value;
    flip =
      f: a: b:
      f b a;

    toList = value: if isList value then value else [ value ];
    last = list: builtins.elemAt list (length list - 1);
    init = list: genList (builtins.elemAt list) (length list - 1);
    imap0 = f: list: genList (i: f i (builtins.elemAt list i)) (length list);
    range = from: to: if from > to then [ ] else genList (i: from + i) (to - from + 1);
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: list: if condition then list else [ ];
    unique = foldl' (seen: value: if elem value seen then seen else seen ++ [ value ]) [ ];
    subtractLists = remove: filter (value: !elem value remove);
    intersectLists = a: filter (value: elem value a);
    count = predicate: list: length (filter predicate list);
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
    hasAttrByPath =
      path: set: path == [ ] || (set ? ${head path} && hasAttrByPath (tail path) set.${head path});
    setAttrByPath = path: value: if path == [ ] then value else { ${head path} = setAttrByPath (tail path) value; };
    recursiveUpdate =
      a: b:
      if builtins.isAttrs a && builtins.isAttrs b then a // mapAttrs (name: value: if a ? ${name} then recursiveUpdate a.${name} value else value) b else b;
    zipAttrs =
      sets:
      let
        names = unique (builtins.concatMap attrNames sets);
      in
      genAttrs names (name: map (set: set.${name}) (filter (set: set ? ${name}) sets));

    optionalString = condition: text: if condition then text else "";
    concatMapStringsSep =
      separator: f: list:
      concatStringsSep separator (map f list);
    concatMapStrings = concatMapStringsSep "";
    concatStrings = concatStringsSep "";
    concatLines = concatMapStrings (line: line + "\n");
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    hasSuffix = suffix: text: stringLength text >= stringLength suffix && substring (stringLength text - stringLength suffix) (stringLength suffix) text == suffix;
    hasInfix = infix: text: length (filter builtins.isString (builtins.split (escapeRegex infix) text)) > 1;
    removePrefix = prefix: text: if hasPrefix prefix text then substring (stringLength prefix) (stringLength text) text else text;
    removeSuffix = suffix: text: if hasSuffix suffix text then substring 0 (stringLength text - stringLength suffix) text else text;
    stringToCharacters = text: genList (i: substring i 1 text) (stringLength text);
    escapeRegex = text: replaceStrings regexCharacters (map (c: "\\" + c) regexCharacters) text;
    regexCharacters = stringToCharacters "\\[{()^$?*+|.";
    splitString = separator: text: filter builtins.isString (builtins.split (escapeRegex separator) text);
    escapeShellArg =
      argument:
      let
        text = toString argument;
      in
      if match "[[:alnum:],._+:@%/-]+" text != null then text else "'${replaceStrings [ "'" ] [ "'\\''" ] text}'";
    escapeShellArgs = concatMapStringsSep " " escapeShellArg;
    toUpper = replaceStrings (stringToCharacters "abcdefghijklmnopqrstuvwxyz") (stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    fileContents = file: removeSuffix "\n" (builtins.readFile file);
    getExe = package: "${package}/bin/${package.meta.mainProgram or package.pname or package.name}";
    getExe' = package: name: "${package}/bin/${name}";
    makeBinPath = concatMapStringsSep ":" (package: "${package}/bin");
    versionAtLeast = a: b: builtins.compareVersions a b >= 0;
    versionOlder = a: b: builtins.compareVersions a b < 0;
    warn = message: value: builtins.trace "warning: ${message}" value;
    warnIf = condition: message: if condition then warn message else id;
    throwIf = condition: message: if condition then throw message else id;
    mod = a: b: a - b * (a / b);
    min = a: b: if a < b then a else b;
    max = a: b: if a > b then a else b;
    fromHexString = text: (builtins.fromTOML "v = 0x${text}").v;
    fix =
      f:
      let
        value = f value;
      in
      value;
    cleanSourceWith = { src, ... }: src;
    sourceByRegex = src: _: src;
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
    strings = { inherit toUpper hasInfix hasPrefix hasSuffix; };
    lists = { inherit toList unique; };
    attrsets = { inherit genAttrs; };

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
