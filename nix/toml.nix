# Write isod's policy files. nixpkgs' own generator needs a build; here the text is at hand while Nix evaluates.
{ lib }:
let
  # A string of JSON is one of TOML too, except that TOML wants DEL escaped.
  string = text: lib.replaceStrings [ (builtins.fromJSON ''"\u007f"'') ] [ "\\u007F" ] (builtins.toJSON text);
  key = name: if builtins.match "[A-Za-z0-9_-]+" name != null then name else string name;
  value =
    item:
    if builtins.isList item then
      "[${lib.concatMapStringsSep ", " value item}]"
    else if builtins.isBool item then
      (if item then "true" else "false")
    else if builtins.isInt item then
      toString item
    else
      string item;

  # What is null was not set; a table without a key is not written.
  prune =
    set:
    lib.filterAttrs (_: item: item != null && item != { }) (
      builtins.mapAttrs (_: item: if builtins.isAttrs item then prune item else item) set
    );
  table =
    path: set:
    let
      own = lib.filterAttrs (_: item: !builtins.isAttrs item) set;
      inner = lib.filterAttrs (_: builtins.isAttrs) set;
    in
    lib.optionalString (path != [ ] && own != { }) "\n[${lib.concatMapStringsSep "." key path}]\n"
    + lib.concatStrings (lib.mapAttrsToList (name: item: "${key name} = ${value item}\n") own)
    + lib.concatStrings (lib.mapAttrsToList (name: item: table (path ++ [ name ]) item) inner);
in
{
  inherit prune;
  toToml = set: table [ ] (prune set);
}
