# A policy of the system bus that lets only root and the named users and groups call isod: the shipped one, with what it
# allows to everybody given to these.
{ lib }:
{ users, groups }:
let
  shipped = builtins.readFile ../dbus-policy/org.isoctl1.conf;
  opening = "  <policy context=\"default\">\n    <deny send_destination=\"org.isoctl1\"/>\n";
  closing = "  </policy>\n";
  parts = lib.splitString opening shipped;
  allowed = lib.head (lib.splitString closing (lib.last parts));
  of = kind: name: "  <policy ${kind}=\"${lib.escapeXML name}\">\n${allowed}${closing}";
in
assert lib.length parts == 2;
lib.head parts + opening + closing + lib.concatMapStrings (of "group") groups + lib.concatMapStrings (of "user") users + "</busconfig>\n"
