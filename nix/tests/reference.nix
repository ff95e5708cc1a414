# All options of the module, as data for the reference: name, type, default, example, description.
let
  t = import ./system.nix { };
  inherit (t) lib;
  host = t.host [ ];
  guest = t.system { } [
    ../container.nix
    ../traits/fhs.nix
  ];

  text =
    value:
    if builtins.isAttrs value && value ? text then
      { inherit (value) text; }
    else
      { inherit value; };
  one = option: {
    name = lib.showOption option.loc;
    type = option.type.description;
    description = option.description or "";
    default =
      if option ? defaultText then
        text option.defaultText
      else if option ? default then
        text option.default
      else
        null;
    example = if option ? example then text option.example else null;
  };
  walk =
    tree:
    lib.concatMap (
      name:
      let
        item = tree.${name};
      in
      if name == "_module" then
        [ ]
      else if lib.isOption item then
        [ (one item) ] ++ walk (item.type.getSubOptions item.loc)
      else
        walk item
    ) (lib.attrNames tree);
in
{
  betterContainers = walk { inherit (host.options) betterContainers; };
  daemon = walk {
    programs.isoctl = host.options.programs.isoctl;
    services.isod = host.options.services.isod;
  };
  inside = walk { isod.fhs = guest.options.isod.fhs; };
}
