"""The root daemon: decides, prepares containers, starts apps in them, keeps the audit."""
