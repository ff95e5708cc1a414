"""Checks of one container, by what they are about: each looks at ContainerFacts."""
