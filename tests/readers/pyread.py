"""Prints each member of the tar named on the command line as a line of JSON; bytes are hexadecimal."""
import decimal
import hashlib
import json
import sys
import tarfile


def hexed(text):
    return text.encode("utf-8", "surrogateescape").hex()


with tarfile.open(sys.argv[1], "r:", encoding="utf-8", errors="surrogateescape") as archive:
    for member in archive:
        content = hashlib.sha256()
        if member.isreg() and member.size < 1 << 30:
            content.update(archive.extractfile(member).read())
        # TarInfo.mtime is a float: the record has all digits.
        time = decimal.Decimal(member.pax_headers.get("mtime", member.mtime))
        seconds = int(time.to_integral_value(decimal.ROUND_FLOOR))
        print(json.dumps({
            "kind": member.type.decode(), "mode": member.mode, "uid": member.uid, "gid": member.gid,
            "size": member.size, "mtime": seconds, "nsec": int((time - seconds) * 10**9),
            "name": hexed(member.name), "link": hexed(member.linkname),
            "major": member.devmajor, "minor": member.devminor, "sha256": content.hexdigest(),
            "records": {hexed(key): hexed(value) for key, value in member.pax_headers.items()},
        }))
