# Traits and templates: plain values, to be composed and passed on.
#
#   with (import ./nix/lib.nix); { webdev = withFhs [ traits.baseDev traits.nodejsDev ]; }
let
  fhs = ./traits/fhs.nix;
in
{
  # Paths, not functions: a module that is imported twice by its path counts once.
  traits = {
    baseDev = ./traits/base-dev.nix;
    golangDev = ./traits/golang-dev.nix;
    ideaCommunity = ./traits/idea-community.nix;
    jvmDev = ./traits/jvm-dev.nix;
    nodejsDev = ./traits/nodejs-dev.nix;
    pythonDev = ./traits/python-dev.nix;
    rustDev = ./traits/rust-dev.nix;
  };

  # The traits (one, a list, or another template), and `enter-fhs`, a classic file system with all that they install.
  withFhs = traits: (if builtins.isList traits then traits else [ traits ]) ++ [ fhs ];
}
