"""The part of the Hub's HTTP interface that huggingface_hub 2.4 speaks for models, on loopback.

Not Xet's protocol: large files go by git LFS, as they do with HF_HUB_DISABLE_XET=1.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

PEOPLE = {
    "hf_writer": {"name": "ann", "orgs": ["org"], "role": "write"},
    "hf_reader": {"name": "bob", "orgs": ["org"], "role": "read"},
    "hf_stranger": {"name": "eve", "orgs": [], "role": "write"},
}


@dataclass
class Repo:
    """A repository: files by commit, commits by branch.

    Attributes:
        listed: path -> what the listing says in the place of the truth, such as a size.
        gated: whether nobody may read its files.
    """

    private: bool = False
    gated: bool = False
    licence: str | None = None
    listed: dict = field(default_factory=dict)
    commits: dict = field(default_factory=dict)
    branches: dict = field(default_factory=dict)

    def commit(self, files, branch="main"):
        parent = self.branches.get(branch, self.branches.get("main"))
        whole = self.commits.get(parent, {}) | files
        seed = repr((len(self.commits), branch, sorted(whole.items())))
        oid = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[oid], self.branches[branch] = whole, oid
        return oid

    def find(self, revision):
        oid = self.branches.get(revision, revision)
        return oid if oid in self.commits else None


class FakeHub:
    """Repositories by id, large files by their SHA-256, and every request that came."""

    def __init__(self):
        self.repos, self.blobs, self.requests, self.down, self.full = {}, {}, [], False, False

    def repo(self, id, files=None, **options):
        self.repos[id] = Repo(**options)
        self.repos[id].commit(files or {})
        return self.repos[id]

    @contextmanager
    def serving(self):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Of", (Handler,), {"hub": self}))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()


class Refused(Exception):
    def __init__(self, status, code="", message=""):
        self.status, self.code, self.message = status, code, message


def git_oid(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(path):
    return path.endswith(".safetensors")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Say nothing."""

    def answer(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        try:
            if self.hub.down:
                raise Refused(503)
            for method, pattern, route in ROUTES:
                if self.command in method.split() and (found := re.fullmatch(pattern, path)):
                    return route(self, **found.groupdict())
            raise Refused(404, "EntryNotFound")
        except Refused as error:
            headers = {"X-Error-Code": error.code, "X-Error-Message": error.message}
            self.send(error.status, b"{}", {k: v for k, v in headers.items() if v})

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def send(self, status, content=b"", headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def json(self, value, status=200):
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def who(self):
        """Who asks; `None` without a token."""
        sent = self.headers.get("Authorization")
        token = None if sent is None else sent.removeprefix("Bearer ")
        if token is not None and token not in PEOPLE:
            raise Refused(401, message="Invalid credentials in Authorization header")
        return PEOPLE.get(token)

    def reading(self, id):
        person, repo = self.who(), self.hub.repos.get(id)
        is_member = person and id.split("/")[0] in (person["name"], *person["orgs"])
        if repo is None or (repo.private and not is_member):
            raise Refused(404 if person else 401, "RepoNotFound", "Repository not found")
        return repo

    def require_writer(self, id):
        person = self.who()
        if person is None:
            raise Refused(401, message="Invalid username or password.")
        if person["role"] != "write" or id.split("/")[0] not in (person["name"], *person["orgs"]):
            raise Refused(403, message="You don't have the rights to do this")

    def at(self, repo, revision):
        oid = repo.find(revision)
        if oid is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return oid

    def whoami(self):
        person = self.who()
        if person is None:
            raise Refused(401)
        orgs = [{"name": name, "type": "org"} for name in person["orgs"]]
        access = {"accessToken": {"role": person["role"], "displayName": "token"}}
        self.json({"type": "user", "name": person["name"], "orgs": orgs, "auth": access})

    def create(self):
        asked = json.loads(self.body)
        id = f"{asked.get('organization') or self.who()['name']}/{asked['name']}"
        self.require_writer(id)
        status = 409 if id in self.hub.repos else 200
        if status == 200:
            self.hub.repo(id, private=asked.get("visibility") == "private")
        self.json({"url": f"http://{self.headers['Host']}/{id}"}, status)

    def info(self, id, revision="main"):
        repo = self.reading(id)
        oid = self.at(repo, revision)
        siblings = [{"rfilename": path} for path in repo.commits[oid]]
        card = {} if repo.licence is None else {"cardData": {"license": repo.licence}}
        found = {"id": id, "modelId": id, "sha": oid, "private": repo.private, "tags": []}
        self.json({**found, **card, "siblings": siblings})

    def tree(self, id, revision):
        repo = self.reading(id)
        entries = []
        for path, content in repo.commits[self.at(repo, revision)].items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
            if is_large(path):
                sha = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 134}
            entries.append(entry | repo.listed.get(path, {}))
        self.json(entries)

    def resolve(self, id, revision, file):
        repo = self.reading(id)
        if repo.gated:
            raise Refused(403, "GatedRepo", "Access to this repository is restricted")
        oid = self.at(repo, revision)
        content = repo.commits[oid].get(file)
        if content is None:
            raise Refused(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": oid, "ETag": f'"{git_oid(content)}"'}
        if not is_large(file):
            return self.send(200, content, headers)
        sha = hashlib.sha256(content).hexdigest()
        self.hub.blobs[sha] = content
        headers |= {"X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(len(content))}
        # As at the Hub, another host, which must not be shown the token.
        cdn = f"http://localhost:{self.server.server_port}/cdn/{sha}"
        return self.send(302, b"", headers | {"Location": cdn})

    def cdn(self, sha):
        if "Authorization" in self.headers:
            raise Refused(400)
        self.send(200, self.hub.blobs[sha], {"ETag": f'"{sha}"'})

    def validate(self):
        text = json.loads(self.body)["content"]
        front = re.match(r"---\n(.*?)\n---\n", text, flags=re.S)
        is_map = front is not None and isinstance(yaml.safe_load(front[1]), dict)
        errors = [] if is_map else [{"message": "no front matter"}]
        self.json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def branch(self, id, branch):
        self.require_writer(id)
        repo = self.reading(id)
        status = 409 if branch in repo.branches else 200
        repo.branches.setdefault(branch, repo.branches["main"])
        self.json({}, status)

    def preupload(self, id, revision):
        self.require_writer(id)
        repo = self.reading(id)
        self.at(repo, revision)
        modes = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if is_large(each["path"]) else "regular",
                "shouldIgnore": False,
            }
            for each in json.loads(self.body)["files"]
        ]
        self.json({"files": modes})

    def batch(self, id):
        self.require_writer(id)
        if self.hub.full:
            raise Refused(413)
        here = f"http://{self.headers['Host']}"
        objects = []
        for each in json.loads(self.body)["objects"]:
            upload = {"href": f"{here}/lfs/{each['oid']}"}
            known = each["oid"] in self.hub.blobs
            objects.append(each | ({} if known else {"actions": {"upload": upload}}))
        self.json({"transfer": "basic", "objects": objects})

    def put(self, sha):
        if hashlib.sha256(self.body).hexdigest() != sha:
            raise Refused(400)
        self.hub.blobs[sha] = self.body
        self.send(200)

    def commit(self, id, revision):
        self.require_writer(id)
        repo = self.reading(id)
        self.at(repo, revision)
        files = {}
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        oid = repo.commit(files, revision)
        here = f"http://{self.headers['Host']}"
        self.json({"success": True, "commitOid": oid, "commitUrl": f"{here}/{id}/commit/{oid}"})


ID = r"(?P<id>[^/]+/[^/]+)"
ROUTES = [
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate),
    ("GET", rf"/api/models/{ID}", Handler.info),
    ("GET", rf"/api/models/{ID}/revision/(?P<revision>.+)", Handler.info),
    ("GET", rf"/api/models/{ID}/tree/(?P<revision>.+)", Handler.tree),
    ("POST", rf"/api/models/{ID}/branch/(?P<branch>.+)", Handler.branch),
    ("POST", rf"/api/models/{ID}/preupload/(?P<revision>.+)", Handler.preupload),
    ("POST", rf"/api/models/{ID}/commit/(?P<revision>.+)", Handler.commit),
    ("POST", rf"/{ID}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/lfs/(?P<sha>\w+)", Handler.put),
    ("GET HEAD", r"/cdn/(?P<sha>\w+)", Handler.cdn),
    ("GET HEAD", rf"/{ID}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", Handler.resolve),
]
