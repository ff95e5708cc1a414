"""Sound; not offered yet."""

from isod.resources.base import Resource


class Audio(Resource):
    """Sound through the user's PipeWire."""

    key = "audio"
    levels = ("none",)
    default = "none"
    doc = "Sound. This version attaches none, and takes no other value, so that no policy grants what is not held."
    variables = ("PIPEWIRE_REMOTE", "PULSE_SERVER")
