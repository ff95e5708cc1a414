# The option types of the stand-in.
lib:
let
  inherit (builtins)
    all
    attrNames
    concatMap
    filter
    head
    isAttrs
    isBool
    isInt
    isList
    isString
    length
    ;
  inherit (lib) showOption;

  make =
    {
      name,
      description ? name,
      check ? (_: true),
      merge ? mergeOne,
      emptyValue ? { },
      getSubOptions ? (_: { }),
      holdsModules ? false,
    }:
    {
      _type = "option-type";
      inherit
        name
        description
        check
        merge
        emptyValue
        getSubOptions
        holdsModules
        ;
    };

  conflict =
    loc: definitions:
    throw "The option `${showOption loc}' has conflicting definition values:${lib.showDefinitions definitions}";
  mergeOne =
    loc: definitions:
    if length definitions == 1 then
      (head definitions).value
    else
      throw "The option `${showOption loc}' is defined multiple times while it's expected to be unique.\nDefinition values:${lib.showDefinitions definitions}";
  mergeEqual =
    loc: definitions:
    if all (definition: definition.value == (head definitions).value) definitions then
      (head definitions).value
    else
      conflict loc definitions;

  ofInts =
    name: description: low: high:
    make {
      inherit name description;
      check = value: isInt value && (low == null || value >= low) && (high == null || value <= high);
      merge = mergeEqual;
    };

  types = rec {
    mkOptionType = make;
    raw = make { name = "raw"; description = "raw value"; };
    anything = make { name = "anything"; merge = mergeEqual; };
    unspecified = make { name = "unspecified"; description = "unspecified value"; };
    bool = make {
      name = "bool";
      description = "boolean";
      check = isBool;
      merge = mergeEqual;
    };
    int = ofInts "int" "signed integer" null null;
    ints = {
      unsigned = ofInts "unsignedInt" "unsigned integer, meaning >=0" 0 null;
      positive = ofInts "positiveInt" "positive integer, meaning >0" 1 null;
      u32 = ofInts "unsignedInt32" "32 bit unsigned integer; between 0 and 4294967295 (both inclusive)" 0 4294967295;
      between = low: high: ofInts "intBetween" "integer between ${toString low} and ${toString high} (both inclusive)" low high;
    };
    port = ofInts "unsignedInt16" "16 bit unsigned integer; between 0 and 65535 (both inclusive)" 0 65535;
    str = make {
      name = "str";
      description = "string";
      check = isString;
      merge = mergeEqual;
    };
    singleLineStr = str;
    nonEmptyStr = make {
      name = "nonEmptyStr";
      description = "non-empty string";
      check = value: isString value && value != "";
      merge = mergeEqual;
    };
    strMatching =
      pattern:
      make {
        name = "strMatching";
        description = "string matching the pattern ${pattern}";
        check = value: isString value && builtins.match pattern value != null;
        merge = mergeEqual;
      };
    lines = make {
      name = "lines";
      description = "strings concatenated with \"\\n\"";
      check = isString;
      merge = _: definitions: lib.concatMapStringsSep "\n" (definition: definition.value) definitions;
    };
    path = make {
      name = "path";
      description = "absolute path";
      check = value: lib.isStringLike value && builtins.substring 0 1 (toString value) == "/";
      merge = mergeEqual;
    };
    package = make {
      name = "package";
      check = value: isAttrs value && value ? outPath;
      merge = mergeOne;
    };
    pathInStore = path;
    attrs = make {
      name = "attrs";
      description = "attribute set";
      check = isAttrs;
      merge = _: builtins.foldl' (all: definition: all // definition.value) { };
      emptyValue.value = { };
    };
    enum =
      values:
      make {
        name = "enum";
        description = "one of ${lib.concatMapStringsSep ", " builtins.toJSON values}";
        check = value: builtins.elem value values;
        merge = mergeEqual;
      };
    nullOr =
      inner:
      make {
        name = "nullOr";
        description = "null or ${inner.description}";
        check = value: value == null || inner.check value;
        merge =
          loc: definitions:
          let
            nulls = filter (definition: definition.value == null) definitions;
          in
          if nulls == [ ] then
            inner.merge loc definitions
          else if length nulls == length definitions then
            null
          else
            throw "The option `${showOption loc}' is defined both null and not null, in `${(head definitions).file}' and elsewhere.";
        emptyValue.value = null;
        inherit (inner) getSubOptions;
      };
    either =
      a: b:
      make {
        name = "either";
        description = "${a.description} or ${b.description}";
        check = value: a.check value || b.check value;
        merge =
          loc: definitions:
          if all (definition: a.check definition.value) definitions then
            a.merge loc definitions
          else if all (definition: b.check definition.value) definitions then
            b.merge loc definitions
          else
            mergeOne loc definitions;
      };
    oneOf = list: builtins.foldl' either (head list) (builtins.tail list);
    addCheck = type: check: type // { check = value: type.check value && check value; };
    coercedTo =
      from: coerce: to:
      if from.holdsModules then
        throw "coercedTo: coercedType must not have submodules"
      else
        make {
          name = "coercedTo";
          description = "${to.description} or ${from.description} convertible to it";
          check = value: (from.check value && to.check (coerce value)) || to.check value;
          merge =
            loc: definitions:
            to.merge loc (
              map (
                definition:
                definition // { value = if from.check definition.value then coerce definition.value else definition.value; }
              ) definitions
            );
          inherit (to) emptyValue;
        };
    listOf =
      inner:
      make {
        name = "listOf";
        description = "list of ${inner.description}";
        check = isList;
        merge =
          loc: definitions:
          concatMap (
            definition:
            concatMap
              (
                index:
                let
                  merged = lib.mergeDefinitions (loc ++ [ "[definition ${toString index}]" ]) inner [
                    {
                      inherit (definition) file;
                      value = builtins.elemAt definition.value index;
                    }
                  ];
                in
                lib.optional merged.isDefined merged.mergedValue
              )
              (builtins.genList lib.id (length definition.value))
          ) definitions;
        emptyValue.value = [ ];
        getSubOptions = prefix: inner.getSubOptions (prefix ++ [ "*" ]);
        inherit (inner) holdsModules;
      };
    nonEmptyListOf = inner: addCheck (listOf inner) (value: value != [ ]) // { description = "non-empty list of ${inner.description}"; emptyValue = { }; };
    attrsOf =
      inner:
      make {
        name = "attrsOf";
        description = "attribute set of ${inner.description}";
        check = isAttrs;
        merge =
          loc: definitions:
          let
            pushed = concatMap (
              definition: map (value: definition // { inherit value; }) (lib.pushDown definition.value)
            ) definitions;
            names = lib.unique (concatMap (definition: attrNames definition.value) pushed);
            merged = lib.genAttrs names (
              name:
              lib.mergeDefinitions (loc ++ [ name ]) inner (
                map (definition: definition // { value = definition.value.${name}; }) (
                  filter (definition: definition.value ? ${name}) pushed
                )
              )
            );
          in
          builtins.mapAttrs (_: one: one.mergedValue) (lib.filterAttrs (_: one: one.isDefined) merged);
        emptyValue.value = { };
        getSubOptions = prefix: inner.getSubOptions (prefix ++ [ "<name>" ]);
      };
    lazyAttrsOf = attrsOf;
    submodule =
      module:
      submoduleWith {
        modules = lib.toList module;
        shorthandOnlyDefinesConfig = true;
      };
    submoduleWith =
      {
        modules,
        specialArgs ? { },
        shorthandOnlyDefinesConfig ? false,
      }:
      let
        evaluate =
          loc: extra:
          lib.evalModules {
            modules = [ { _module.args.name = lib.mkOptionDefault (lib.last loc); } ] ++ modules ++ extra;
            inherit specialArgs;
            prefix = loc;
          };
      in
      make {
        name = "submodule";
        check = value: isAttrs value || lib.isFunction value || lib.isPath value;
        merge =
          loc: definitions:
          removeAttrs
            (evaluate loc (
              map (
                definition:
                lib.setDefaultModuleLocation definition.file (
                  if isAttrs definition.value && shorthandOnlyDefinesConfig then
                    { config = definition.value; }
                  else
                    definition.value
                )
              ) definitions
            )).config
            [ "_module" ];
        emptyValue.value = { };
        getSubOptions = prefix: (evaluate (prefix ++ lib.optional (prefix == [ ]) "<name>") [ ]).options;
      };
    deferredModule = make {
      name = "deferredModule";
      description = "module";
      holdsModules = true;
      check = value: isAttrs value || lib.isFunction value || lib.isPath value;
      merge = loc: definitions: {
        imports = map (
          definition: lib.setDefaultModuleLocation "${definition.file}, via option ${showOption loc}" definition.value
        ) definitions;
      };
    };
  };
in
types
