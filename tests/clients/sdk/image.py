"""The image service by openstacksdk: as a member, whose images are his project's, and as an administrator."""

import hashlib
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MIB = 1 << 20
WAIT = 60


def disk(size=MIB):
    """A disk with a partition table of one Linux partition, and something on it."""
    entry = bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0]) + (1).to_bytes(4, "little") + (2047).to_bytes(4, "little")
    first = bytes(446) + entry + bytes(48) + b"\x55\xaa"
    return first + os.urandom(size - len(first))


def qcow2(content):
    """The disk as qcow2, version 3: a header, one table of each kind, the clusters of 64 KiB."""
    cluster = 1 << 16
    pieces = [content[at : at + cluster] for at in range(0, len(content), cluster)]

    def words(*given):
        return b"".join(value.to_bytes(size, "big") for value, size in given)

    header = b"QFI\xfb" + words((3, 4), (0, 8), (0, 4), (16, 4), (len(content), 8), (0, 4), (1, 4), (cluster, 8))
    header += words((cluster, 8), (1, 4), (0, 4), (0, 8), (0, 8), (0, 8), (0, 8), (4, 4), (104, 4))
    tables = [header, words((2 * cluster | 1 << 63, 8))]
    tables.append(b"".join(words(((3 + at) * cluster | 1 << 63, 8)) for at in range(len(pieces))))
    return b"".join(table.ljust(cluster, b"\0") for table in tables + pieces)


def settled(scene, image, wanted):
    """The image when it has come so far."""
    images = scene.of("sys").image
    scene.until(lambda: images.get_image(image.id).status in (wanted, "killed"), f"{image.name} is {wanted}")
    seen = images.get_image(image.id)
    assert seen.status == wanted, seen
    return seen


def files(scene):
    """a file is uploaded, found by name, downloaded byte for byte, deleted"""
    images, given = scene.of("lessee").image, disk()
    path = scene.folder / "sdk.raw"
    path.write_bytes(given)
    made = images.create_image("sdk-file", filename=str(path), disk_format="raw", wait=True, visibility="private")
    seen = images.find_image("sdk-file")
    assert (seen.id, seen.status, seen.size, seen.visibility) == (made.id, "active", len(given), "private"), seen
    assert (seen.hash_algo, seen.hash_value) == ("sha256", hashlib.sha256(given).hexdigest()), seen
    assert seen.checksum == hashlib.md5(given, usedforsecurity=False).hexdigest(), seen
    assert seen.owner_id == scene.projects["lessee"], seen
    # The client compares the digests itself, too.
    assert images.download_image(made.id).content == given
    copy = scene.folder / "sdk-copy.raw"
    images.download_image(made.id, output=str(copy))
    assert copy.read_bytes() == given
    with images.download_image(made.id, stream=True) as answer:
        assert b"".join(answer.iter_content(1 << 16)) == given
    scene.refused(404, scene.of("other").image.get_image, made.id)
    images.delete_image(made.id)
    assert images.find_image("sdk-file") is None


def formats(scene):
    """what is not what its owner says is refused, by its name"""
    images = scene.of("lessee").image
    inside = {"VMDK": (0, b"KDMV"), "VHD": (MIB - 512, b"conectix"), "VDI": (0x40, b"\x7f\x10\xda\xbe")}
    inside |= {"qcow2": (0, b"QFI\xfb\0\0\0\x03"), "ISO 9660": (0x8001, b"CD001"), "LUKS": (0, b"LUKS\xba\xbe")}
    for name, (at, mark) in inside.items():
        content = bytearray(disk())
        content[at : at + len(mark)] = mark
        image = images.create_image("sdk-liar", disk_format="raw", allow_duplicates=True)
        octets = {"Content-Type": "application/octet-stream"}
        answer = images.put(f"/images/{image.id}/file", data=bytes(content), headers=octets)
        assert answer.status_code == 400 and name in answer.text, (name, answer.text)
        assert images.get_image(image.id).status == "queued"
        images.delete_image(image.id)


def stages(scene):
    """a file is staged, then imported; the methods are told"""
    images, given = scene.of("lessee").image, disk()
    assert set(images.get_import_info().import_methods["value"]) >= {"glance-direct", "web-download"}
    made = images.create_image("sdk-stage", disk_format="raw", container_format="bare")
    assert made.status == "queued", made
    images.stage_image(made, data=given)
    images.import_image(images.get_image(made.id), "glance-direct")
    settled(scene, made, "active")
    assert images.download_image(made.id).content == given
    images.delete_image(made.id)


class Files(BaseHTTPRequestHandler):
    """Serves one file."""

    content = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_):
        pass


def downloads(scene):
    """the box fetches nothing from inside for a member, and a file of its import folder for its administrator"""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Files,), {"content": disk()}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        images = scene.of("lessee").image
        made = images.create_image("sdk-inside", disk_format="raw", container_format="bare")
        inside = f"http://127.0.0.1:{server.server_port}/x"
        for uri in (inside, "file:///etc/passwd", scene.clients.service.import_folder.as_uri() + "/stick.raw"):
            assert images.import_image(made, "web-download", uri=uri).status_code == 400, uri
        images.delete_image(made.id)
    finally:
        server.shutdown()
        server.server_close()
    given = disk()
    (scene.clients.service.import_folder / "stick.raw").write_bytes(given)
    admin = scene.of("sys").image
    made = admin.create_image("sdk-stick", disk_format="raw", container_format="bare", visibility="public")
    uri = scene.clients.service.import_folder.as_uri()
    for outside in ("/etc/passwd", "/../leasehold.toml"):
        assert admin.import_image(made, "web-download", uri=f"file://{outside}").status_code == 400, outside
    admin.import_image(made, "web-download", uri=f"{uri}/stick.raw")
    settled(scene, made, "active")
    assert scene.of("lessee").image.download_image(made.id).content == given
    scene.refused(403, scene.of("lessee").image.delete_image, made.id)
    admin.delete_image(made.id)


def brought(scene):
    """what the box's own command line brought is downloaded as it is shown, raw and qcow2"""
    service, images = scene.clients.service, scene.of("lessee").image

    def leasehold(*words):
        command = [service.program, *words, "--socket", str(service.state / "leasehold.sock")]
        subprocess.run(command, check=True, capture_output=True, text=True)

    for form in ("raw", "qcow2"):
        for way in ("add", "import"):
            given = disk() if form == "raw" else qcow2(disk())
            name, digest = f"sdk-{way}-{form}", hashlib.sha512(given).hexdigest()
            (service.import_folder / name).write_bytes(given)
            source = str(service.import_folder / name) if way == "add" else name
            leasehold("image", way, source, "--name", name, "--checksum", digest)
            seen = images.find_image(name)
            # The client compares the digests itself, too, where there are some that it compares.
            came = images.download_image(seen.id).content
            is_qcow2 = came.startswith(b"QFI\xfb")
            assert (seen.size, seen.disk_format) == (len(came), "qcow2" if is_qcow2 else "raw"), seen
            assert seen.hash_value == hashlib.new(seen.hash_algo, came).hexdigest(), seen
            assert seen.checksum in (None, hashlib.md5(came, usedforsecurity=False).hexdigest()), seen
            assert came == given or (form, seen.virtual_size) == ("qcow2", len(came)), seen
            leasehold("image", "delete", seen.id)


def sharing(scene):
    """an image is shared with another project, who takes it; only administrators make one public"""
    owner, other = scene.of("lessee").image, scene.of("other").image
    made = owner.create_image("sdk-share", data=disk(), disk_format="raw", visibility="shared", wait=True)
    member = scene.projects["other"]
    assert owner.add_member(made.id, member_id=member).status == "pending"
    assert [found.member_id for found in owner.members(made.id)] == [member]
    assert made.id not in [found.id for found in other.images()]
    assert other.get_image(made.id).id == made.id
    scene.refused(403, owner.update_member, member, made.id, status="accepted")
    assert other.update_member(member, made.id, status="accepted").status == "accepted"
    assert made.id in [found.id for found in other.images()]
    assert owner.get_member(member, made.id).status == "accepted"
    scene.refused(403, other.delete_image, made.id)
    owner.remove_member(member, image=made.id)
    scene.refused(404, other.get_image, made.id)
    scene.refused(403, owner.update_image, made.id, visibility="public")
    assert scene.of("sys").image.update_image(made.id, visibility="public").visibility == "public"
    assert made.id in [found.id for found in other.images(visibility="public")]
    owner.delete_image(made.id)


def properties(scene):
    """names, properties, tags and protection are changed; filters find; an image is put out of use"""
    images = scene.of("lessee").image
    made = images.create_image("sdk-prop", data=disk(), disk_format="raw", wait=True, hw_firmware_type="uefi")
    assert images.get_image(made.id).properties["hw_firmware_type"] == "uefi"
    changed = images.update_image(made.id, name="sdk-new", min_disk=4, min_ram=512, color="red")
    assert (changed.name, changed.min_disk, changed.min_ram) == ("sdk-new", 4, 512), changed
    assert images.get_image(made.id).properties["color"] == "red"
    images.add_tag(made.id, "one")
    images.add_tag(made.id, "two")
    images.remove_tag(made.id, "one")
    assert images.get_image(made.id).tags == ["two"]
    assert [found.id for found in images.images(tag="two", name="sdk-new", status="active")] == [made.id]
    assert not list(images.images(tag="one"))
    images.update_image(made.id, is_protected=True)
    scene.refused(403, images.delete_image, made.id)
    images.update_image(made.id, is_protected=False)
    admin = scene.of("sys").image
    admin.deactivate_image(made.id)
    assert images.get(f"/images/{made.id}/file").status_code == 403
    admin.reactivate_image(made.id)
    assert images.download_image(made.id).status_code == 200
    assert images.get_image_schema().properties["id"]
    images.delete_image(made.id)


CHECKS = [files, formats, stages, downloads, brought, sharing, properties]
