"""Sound; not offered yet."""

from isod.resources.base import Resource


class Audio(Resource):
    """Sound through the user's PipeWire."""

    key = "audio"
    levels = ("none",)
    default = "none"
    doc = "Sound. This version attaches none, so it takes no other value."
    variables = ("PIPEWIRE_REMOTE", "PULSE_SERVER")
