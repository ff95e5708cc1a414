# isod, isod-session, isod-helper, isoctl, their units, bus policy, polkit actions, completions and manual.
#
# By the same `make install` as everywhere; only the places differ.
{
  lib,
  stdenv,
  python3,
}:
let
  python = python3.withPackages (packages: [
    # Exactly this release, see docs/adr/0001.
    packages.dbus-next
    packages.pydantic
    packages.pyudev
    packages.structlog
    packages.systemd
  ]);
in
stdenv.mkDerivation {
  pname = "isoctl";
  version = "0.1.0";
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../CHANGELOG.md
      ../Makefile
      ../README.md
      ../SECURITY.md
      ../client
      ../daemon
      ../dbus-policy
      ../docs
      ../systemd-units
      ../tools
    ];
  };

  # There is no /bin/bash where Nix builds.
  postPatch = "patchShebangs tools/install.sh";
  dontConfigure = true;
  dontBuild = true;
  makeFlags = [
    "PREFIX=${placeholder "out"}"
    "DBUSDIR=${placeholder "out"}/share/dbus-1/system.d"
    "POLKITDIR=${placeholder "out"}/share/polkit-1/actions"
    "PYTHON=${python}/bin/python3"
  ];
  postInstall = ''
    # NixOS has its own; a second one would turn its text into a drop-in of ours.
    rm $out/lib/systemd/system/container@.service
  '';

  doInstallCheck = true;
  installCheckPhase = ''
    runHook preInstallCheck
    $out/bin/isoctl --version
    $out/libexec/isod --version
    runHook postInstallCheck
  '';

  passthru = { inherit python; };

  meta = {
    description = "Run desktop and command line programs in systemd-nspawn containers as if they were local";
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    mainProgram = "isoctl";
  };
}
