# The module system of the stand-in: imports, options, definitions with priorities, and the errors that tests look for.
lib:
let
  inherit (builtins)
    attrNames
    concatMap
    filter
    foldl'
    functionArgs
    head
    isAttrs
    length
    mapAttrs
    ;
  inherit (lib) last optionalAttrs showOption toList;

  unknownFile = "<unknown-file>";
  defaultPriority = 100;
  defaultOrder = 1000;

  isType = type: value: isAttrs value && (value._type or "") == type;

  # -- modules: from path, function or set to one form, imports followed, each key once

  load =
    { file, key }:
    arguments: module:
    if lib.isPath module || builtins.isString module then
      load {
        file = toString module;
        key = toString module;
      } arguments (import module)
    else if lib.isFunction module then
      load { inherit file key; } arguments (module (arguments (functionArgs module)))
    else if !isAttrs module then
      throw "In module `${file}': expected a module, but got ${builtins.typeOf module}"
    else
      let
        isLong = module ? config || module ? options;
        own = [
          "_file"
          "key"
          "imports"
          "options"
          "config"
          "freeformType"
          "disabledModules"
        ];
        extra = attrNames (removeAttrs module own);
      in
      if isLong && extra != [ ] then
        throw "Module `${module._file or file}' has an unsupported attribute `${head extra}'. This is caused by introducing a top-level `config' or `options' attribute."
      else
        {
          file = module._file or file;
          key = module.key or key;
          imports = module.imports or [ ];
          options = module.options or { };
          config = if isLong then module.config or { } else removeAttrs module own;
          freeformType = module.freeformType or null;
        };

  collect =
    arguments: modules:
    let
      go =
        prefix: parentFile: list: seen:
        foldl' (
          state: index:
          let
            loaded = load {
              file = parentFile;
              key = "${prefix}:anon-${toString index}";
            } arguments (builtins.elemAt list index);
            below = go loaded.key loaded.file loaded.imports (state.seen // { ${loaded.key} = true; });
          in
          if state.seen ? ${loaded.key} then
            state
          else
            {
              found = state.found ++ [ loaded ] ++ below.found;
              inherit (below) seen;
            }
        ) { found = [ ]; inherit seen; } (builtins.genList lib.id (length list));
    in
    (go "" unknownFile modules { }).found;

  # -- properties: mkIf, mkMerge, mkOverride, mkOrder

  pushDown =
    value:
    if isType "merge" value then
      concatMap pushDown value.contents
    else if isType "if" value then
      map (mapAttrs (_: inner: mkIf value.condition inner)) (pushDown value.content)
    else if isType "override" value then
      map (mapAttrs (_: inner: mkOverride value.priority inner)) (pushDown value.content)
    else
      [ value ];

  discharge =
    value:
    if isType "merge" value then
      concatMap discharge value.contents
    else if isType "if" value then
      if !builtins.isBool value.condition then
        throw "`mkIf' called with a non-Boolean condition"
      else if value.condition then
        discharge value.content
      else
        [ ]
    else
      [ value ];

  priorityOf = definition: if isType "override" definition.value then definition.value.priority else defaultPriority;
  strip =
    definition:
    if isType "override" definition.value then definition // { value = definition.value.content; } else definition;

  winners =
    definitions:
    let
      best = foldl' (
        lowest: definition: if priorityOf definition < lowest then priorityOf definition else lowest
      ) 9999 definitions;
    in
    {
      priority = best;
      definitions = map strip (filter (definition: priorityOf definition == best) definitions);
    };

  inOrder =
    definitions:
    let
      orderOf = definition: if isType "order" definition.value then definition.value.priority else defaultOrder;
      content =
        definition:
        if isType "order" definition.value then definition // { value = definition.value.content; } else definition;
    in
    map content (builtins.sort (a: b: orderOf a < orderOf b) definitions);

  # mergeDefinitions of nixpkgs: what remains of the definitions of one option, and the value that its type makes of it.
  mergeDefinitions =
    loc: type: definitions:
    let
      discharged = concatMap (definition: map (value: definition // { inherit value; }) (discharge definition.value)) definitions;
      won = winners discharged;
      final = inOrder won.definitions;
      wrong = filter (definition: !type.check definition.value) final;
    in
    rec {
      isDefined = final != [ ];
      definitions = final;
      highestPrio = won.priority;
      mergedValue =
        if isDefined then
          if wrong == [ ] then
            type.merge loc final
          else
            throw "A definition for option `${showOption loc}' is not of type `${type.description}'. Definition values:${showDefinitions wrong}"
        else if type ? emptyValue.value then
          type.emptyValue.value
        else
          throw "The option `${showOption loc}' was accessed but has no value defined. Try setting the option.";
    };

  showDefinitions = lib.concatMapStrings (definition: "\n- In `${definition.file}'");

  # -- options and definitions brought together

  evaluateOption =
    loc: declarations: definitions:
    let
      option =
        if length declarations == 1 then
          (head declarations).options
        else
          throw "The option `${showOption loc}' in `${(head declarations).file}' is already declared in `${(last declarations).file}'.";
      type = option.type or lib.types.unspecified;
      withDefault = definitions ++ lib.optional (option ? default) {
        file = (head declarations).file;
        value = mkOptionDefault option.default;
      };
      merged = mergeDefinitions loc type withDefault;
      apply = option.apply or lib.id;
    in
    option
    // {
      _type = "option";
      inherit loc type;
      value = builtins.addErrorContext "while evaluating the option `${showOption loc}':" (apply merged.mergedValue);
      inherit (merged) isDefined highestPrio;
      definitions = map (definition: definition.value) merged.definitions;
      definitionsWithLocations = map (definition: { inherit (definition) file value; }) merged.definitions;
      files = map (definition: definition.file) merged.definitions;
      __toString = _: showOption loc;
    };

  evaluateTree =
    loc: declarations: definitions:
    let
      byName = lib.genAttrs (lib.unique (concatMap (declaration: attrNames declaration.options) declarations)) (
        name:
        map (declaration: declaration // { options = declaration.options.${name}; }) (
          filter (declaration: declaration.options ? ${name}) declarations
        )
      );
      pushed = concatMap (
        definition:
        map (value: definition // { inherit value; }) (
          let
            inner = pushDown definition.value;
            bad = filter (value: !isAttrs value) inner;
          in
          if bad == [ ] then
            inner
          else
            throw "The option `${showOption loc}' does not exist as a value: a set is expected. Definition values:\n- In `${definition.file}'"
        )
      ) definitions;
      definitionsOf =
        name:
        map (definition: definition // { value = definition.value.${name}; }) (
          filter (definition: definition.value ? ${name}) pushed
        );
      matched = mapAttrs (
        name: here:
        let
          inner = loc ++ [ name ];
          leaves = filter (declaration: isType "option" declaration.options) here;
        in
        if leaves != [ ] then
          let
            option = evaluateOption inner here (definitionsOf name);
          in
          {
            options = option;
            config = option.value;
            unmatched = [ ];
          }
        else
          evaluateTree inner here (definitionsOf name)
      ) byName;
      unmatchedHere = concatMap (
        definition:
        map (name: {
          loc = loc ++ [ name ];
          inherit (definition) file;
          value = definition.value.${name};
        }) (filter (name: !byName ? ${name}) (attrNames definition.value))
      ) pushed;
    in
    {
      options = mapAttrs (_: tree: tree.options) matched;
      config = mapAttrs (_: tree: tree.config) matched;
      unmatched = unmatchedHere ++ concatMap (tree: tree.unmatched) (builtins.attrValues matched);
    };

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
      class ? null,
    }:
    let
      arguments =
        names:
        {
          inherit lib;
          inherit (result) config options;
        }
        // mapAttrs (
          name: _:
          builtins.addErrorContext "while evaluating the module argument `${name}':" (
            specialArgs.${name} or result.config._module.args.${name}
          )
        ) (removeAttrs names [ "lib" "config" "options" ])
        // specialArgs;
      internal = {
        options._module = {
          args = mkOption {
            type = lib.types.lazyAttrsOf lib.types.raw;
            default = { };
            internal = true;
          };
          freeformType = mkOption {
            default = null;
            internal = true;
          };
        };
      };
      loaded = collect arguments ([ internal ] ++ modules);
      freeform = filter (module: module.freeformType != null) loaded;
      tree =
        evaluateTree prefix
          (map (module: { inherit (module) file options; }) loaded)
          (map (module: {
            inherit (module) file;
            value = module.config;
          }) loaded);
      free =
        if freeform == [ ] then
          { }
        else
          (head freeform).freeformType.merge prefix (
            map (definition: {
              inherit (definition) file;
              value = lib.setAttrByPath (lib.drop' (length prefix) definition.loc) definition.value;
            }) tree.unmatched
          );
      checked =
        value:
        if freeform != [ ] || tree.unmatched == [ ] then
          value
        else
          throw "The option `${showOption (head tree.unmatched).loc}' does not exist. Definition values:\n- In `${(head tree.unmatched).file}'";
      result = {
        options = removeAttrs tree.options [ "_module" ];
        config = checked (lib.recursiveUpdate free (removeAttrs tree.config [ "_module" ]) // { inherit (tree.config) _module; });
        type = lib.types.submoduleWith { inherit modules specialArgs; };
        inherit class;
        _type = "configuration";
      };
    in
    result;

  mkOption = attributes: { _type = "option"; } // attributes;
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkOptionDefault = mkOverride 1500;
  mkOrder = priority: content: {
    _type = "order";
    inherit priority content;
  };
in
{
  inherit
    evalModules
    isType
    mergeDefinitions
    mkIf
    mkOption
    mkOptionDefault
    mkOrder
    mkOverride
    pushDown
    showDefinitions
    ;
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;
  mkEnableOption =
    name:
    mkOption {
      default = false;
      example = true;
      description = "Whether to enable ${name}.";
      type = lib.types.bool;
    };
  mkPackageOption =
    pkgs: name: { ... }:
    mkOption {
      default = pkgs.${name};
      description = "The ${name} package to use.";
      type = lib.types.package;
    };
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  literalMD = text: {
    _type = "literalMD";
    inherit text;
  };
  setDefaultModuleLocation = file: module: {
    _file = file;
    imports = [ module ];
  };
  isOption = isType "option";
  drop' = count: list: builtins.genList (i: builtins.elemAt list (i + count)) (length list - count);
  showOption = lib.concatMapStringsSep "." (
    part: if builtins.match "[a-zA-Z_][a-zA-Z0-9_'-]*|<.*>|\\*" part != null then part else builtins.toJSON part
  );
}
