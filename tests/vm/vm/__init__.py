"""A virtual machine that is a host of containers: what the lab can't have, real graphics devices and controllers."""
