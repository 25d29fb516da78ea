# Makes a wheel with its index, an npm package with its registry, and a git repository: python3 packages.py DIR
import base64, hashlib, io, json, os, subprocess, sys, tarfile, zipfile

top = sys.argv[1]


def write(path, content):
    path = os.path.join(top, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


# PEP 427 and PEP 503.
files = {
    "demo_pkg/__init__.py": "GREETING = 'hello from a wheel'\n",
    "demo_pkg-1.0.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: demo-pkg\nVersion: 1.0.0\n",
    "demo_pkg-1.0.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
record = "".join(
    "%s,sha256=%s,%d\n"
    % (name, base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode(), len(text))
    for name, text in files.items()
)
files["demo_pkg-1.0.0.dist-info/RECORD"] = record + "demo_pkg-1.0.0.dist-info/RECORD,,\n"
wheel = io.BytesIO()
with zipfile.ZipFile(wheel, "w") as archive:
    for name, text in files.items():
        archive.writestr(name, text)
name = "demo_pkg-1.0.0-py3-none-any.whl"
write("pypi.test/simple/demo-pkg/" + name, wheel.getvalue())
write("pypi.test/simple/demo-pkg/index.html", b"<!DOCTYPE html><a href='%s'>%s</a>" % (name.encode(), name.encode()))

# What `npm publish` would have made of it.
package = {"name": "demo-pkg", "version": "1.0.0", "main": "index.js"}
tarball = io.BytesIO()
with tarfile.open(fileobj=tarball, mode="w:gz") as archive:
    for name, text in {"package.json": json.dumps(package), "index.js": "module.exports = 'hello from a tarball'\n"}.items():
        info = tarfile.TarInfo("package/" + name)
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text.encode()))
tarball = tarball.getvalue()
write("npm.test/demo-pkg/-/demo-pkg-1.0.0.tgz", tarball)
package["dist"] = {
    "tarball": "http://npm.test/demo-pkg/-/demo-pkg-1.0.0.tgz",
    "shasum": hashlib.sha1(tarball).hexdigest(),
    "integrity": "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode(),
}
packument = {"name": "demo-pkg", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": package}}
write("npm.test/demo-pkg/index.json", json.dumps(packument).encode())

# A repository as any web server serves it (`git help http-backend`, "dumb").
work, bare = os.path.join(top, "work"), os.path.join(top, "git.test", "repo.git")
os.makedirs(work)
with open(os.path.join(work, "README"), "w") as file:
    file.write("hello from a repository\n")
who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
for command in (
    ["git", "init", "-q", "-b", "main", work],
    ["git", "-C", work, "add", "README"],
    ["git", *who, "-C", work, "commit", "-q", "-m", "first"],
    ["git", "clone", "-q", "--bare", work, bare],
    ["git", "-C", bare, "update-server-info"],
):
    subprocess.run(command, check=True)
