"""Upload a folder's files: `upload_folder.py FOLDER s3://BUCKET/PREFIX`; endpoint and keys are in AWS_* variables."""

import sys
from pathlib import Path
from urllib.parse import urlsplit


def upload(folder: Path, uri: str) -> int:
    """Every file of the folder, under its path in it; returns how many there were."""
    import boto3

    to, client = urlsplit(uri), boto3.client("s3")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        client.upload_file(str(path), to.netloc, f"{to.path.strip('/')}/{path.relative_to(folder).as_posix()}")
    return len(files)


if __name__ == "__main__":
    if len(sys.argv) != 3 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: upload_folder.py FOLDER s3://BUCKET/PREFIX")
    print(f"{upload(Path(sys.argv[1]), sys.argv[2])} files are in {sys.argv[2]}")
