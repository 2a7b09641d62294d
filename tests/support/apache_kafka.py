# SPDX-License-Identifier: Apache-2.0
"""Apache Kafka as a peer: its jars, a broker of one node, and its own descriptions of messages.

The descriptions (JSON, one for each message, in the clients' jar) say which field is there in which
version; Messages encodes and decodes by them, so that neither our tables nor our reading of the
protocol stands behind what is compared.
"""
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import zipfile

import script

ROOT = pathlib.Path(__file__).resolve().parents[2]
JARS = pathlib.Path(os.environ.get("WEIR_KAFKA", ROOT / ".cache" / "kafka"))
POM = ROOT / "tests" / "bench" / "kafka" / "pom.xml"
FETCH_S = 600

PROPERTIES = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={node}@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
log.dirs={data}
num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
"""
# The flags of Kafka's own start script.
FLAGS = ("-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
         "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
         "-Djava.awt.headless=true")


def is_there(jars):
    return shutil.which("java") is not None and any(pathlib.Path(jars).glob("kafka_2.13-*.jar"))


def need():
    """Kafka's jars, fetched once by Maven where Java and Maven are; skips the case elsewhere."""
    if shutil.which("java") is None:
        raise script.Skip("java is not installed")
    if not is_there(JARS):
        if shutil.which("mvn") is None:
            raise script.Skip(f"no jars of Apache Kafka in {JARS}, and no mvn to fetch them")
        fetched = subprocess.run(
            ["mvn", "-q", "-B", "-f", POM, "dependency:copy-dependencies",
             f"-DoutputDirectory={JARS}"], capture_output=True, check=False, timeout=FETCH_S)
        if fetched.returncode != 0 or not is_there(JARS):
            raise script.Skip("Apache Kafka could not be fetched: "
                              + fetched.stdout.decode("utf-8", "replace")[-300:].strip())


def command(jars, folder, ports, node=1, more="", heap="1G"):
    """Formats the storage in a folder; returns the command of a broker. ports: clients', own."""
    properties = folder / "server.properties"
    port, controller = ports
    properties.write_text(PROPERTIES.format(port=port, controller=controller, node=node,
                                            data=folder / "data") + more, encoding="ascii")
    java = ["java", "-cp", f"{pathlib.Path(jars).resolve()}/*",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    subprocess.run([*java, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ",
                    "-c", properties], check=True, capture_output=True, timeout=FETCH_S)
    return [*java, f"-Xms{heap}", f"-Xmx{heap}", *FLAGS, "kafka.Kafka", str(properties)]


def _spans(versions, version):
    """Whether "3", "2-5", "4+" or "none" holds a version."""
    if not versions or versions == "none":
        return False
    first, _, last = versions.rstrip("+").partition("-")
    end = 1 << 15 if versions.endswith("+") else int(last or first)
    return int(first) <= version <= end


def _varint(value):
    """An unsigned variable-length integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


FIXED = {"bool": ">?", "int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "int64": ">q",
         "float64": ">d"}


class Reader:
    """What is left of some bytes; whoever asks for more than there is fails."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, count):
        assert 0 <= count <= len(self.data) - self.at, f"{count} bytes asked at {self.at}"
        self.at += count
        return self.data[self.at - count:self.at]

    def fixed(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value


class Messages:
    """Encodes requests and decodes answers, as dictionaries, by Kafka's own descriptions."""

    def __init__(self, jars=JARS):
        self._jar = zipfile.ZipFile(next(pathlib.Path(jars).glob("kafka-clients-*.jar")))
        self._kept = {}

    def schema(self, name):
        if name not in self._kept:
            text = self._jar.read(f"common/message/{name}.json").decode("utf-8")
            self._kept[name] = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
            structs = self._kept[name].get("commonStructs", [])
            self._kept[name]["structs"] = {each["name"]: each["fields"] for each in structs}
        return self._kept[name]

    def is_flexible(self, name, version):
        return _spans(self.schema(name)["flexibleVersions"], version)

    def request(self, api, version, number, values, client="weir-test"):
        """A whole frame but for its length."""
        name = api + "Request"
        key = self.schema(name)["apiKey"]
        header = struct.pack(">hhih", key, version, number, len(client)) + client.encode()
        if self.is_flexible(name, version):
            header += b"\0"
        return header + self.encode(name, version, values)

    def answer(self, api, version, frame):
        """(number, values) of an answer's frame, of which each byte must be used."""
        reader = Reader(frame)
        number = reader.fixed(">i")
        name = api + "Response"
        # ApiVersions is answered with the oldest header, since the client may be of any version.
        if self.is_flexible(name, version) and api != "ApiVersions":
            self._tags(reader, [], version, None)
        values = self._struct(reader, self.schema(name)["fields"], version, self.schema(name))
        assert reader.at == len(frame), f"{len(frame) - reader.at} bytes behind {name} {version}"
        return number, values

    def encode(self, name, version, values):
        return self._encoded(self.schema(name)["fields"], version, values, self.schema(name))

    def _encoded(self, fields, version, values, schema):
        unknown = set(values) - {each["name"] for each in fields}
        assert not unknown, f"{schema['name']} has no {unknown}"
        flexible = _spans(schema["flexibleVersions"], version)
        out = b""
        for each in fields:
            if _spans(each["versions"], version) and not _spans(each.get("taggedVersions"),
                                                                version):
                value = values.get(each["name"], self._default(each))
                out += self._value(each, each["type"], version, value, schema, flexible)
        return out + b"\0" if flexible else out

    @staticmethod
    def _default(field):
        kind, text = field["type"], field.get("default")
        if kind.startswith("[]"):
            return []
        if kind in ("string", "bytes", "records"):
            return None if text == "null" else text or ""
        if kind == "bool":
            return text == "true"
        return int(str(text or 0), 0)

    def _value(self, field, kind, version, value, schema, flexible):
        if kind in FIXED:
            return struct.pack(FIXED[kind], value)
        if kind == "uuid":
            return value
        if kind in ("string", "bytes", "records"):
            data = value.encode() if isinstance(value, str) else value
            length = -1 if data is None else len(data)
            if flexible:
                return _varint(length + 1) + (data or b"")
            return struct.pack(">h" if kind == "string" else ">i", length) + (data or b"")
        if kind.startswith("[]"):
            length = -1 if value is None else len(value)
            count = _varint(length + 1) if flexible else struct.pack(">i", length)
            return count + b"".join(self._value(field, kind[2:], version, each, schema, flexible)
                                    for each in value or [])
        fields = field.get("fields") or schema["structs"][kind]
        return self._encoded(fields, version, value, schema)

    def _struct(self, reader, fields, version, schema):
        flexible = _spans(schema["flexibleVersions"], version)
        values = {}
        for each in fields:
            if _spans(each["versions"], version) and not _spans(each.get("taggedVersions"),
                                                                version):
                values[each["name"]] = self._read(reader, each, each["type"], version, schema,
                                                  flexible)
        if flexible:
            values.update(self._tags(reader, fields, version, schema))
        return values

    def _tags(self, reader, fields, version, schema):
        found = {}
        for _ in range(reader.varint()):
            tag = reader.varint()
            data = Reader(reader.take(reader.varint()))
            for each in fields:
                if each.get("tag") == tag and _spans(each["taggedVersions"], version):
                    found[each["name"]] = self._read(data, each, each["type"], version, schema,
                                                     True)
        return found

    def _read(self, reader, field, kind, version, schema, flexible):
        if kind in FIXED:
            return reader.fixed(FIXED[kind])
        if kind == "uuid":
            return reader.take(16)
        is_list = kind.startswith("[]")
        if is_list or kind in ("string", "bytes", "records"):
            form = ">h" if kind == "string" else ">i"
            length = reader.varint() - 1 if flexible else reader.fixed(form)
            if length < 0:
                return None
            if is_list:
                return [self._read(reader, field, kind[2:], version, schema, flexible)
                        for _ in range(length)]
            data = reader.take(length)
            return data.decode() if kind == "string" else data
        fields = field.get("fields") or schema["structs"][kind]
        return self._struct(reader, fields, version, schema)
