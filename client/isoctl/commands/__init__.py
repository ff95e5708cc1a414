"""One module a verb, each with `execute(request) -> int`; imported only when its verb is used."""
