"""Reads TensorBoard's event files."""

import struct

from tensorboardX.proto import event_pb2


def scalar_tags(folder) -> set[str]:
    """Tags in the event files: records of a length, its checksum, an event, its checksum."""
    tags = set()
    for path in folder.glob("events.*"):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            tags |= {value.tag for value in event.summary.value}
            at += 12 + length + 4
    return tags
