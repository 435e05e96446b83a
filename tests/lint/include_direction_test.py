"""The include check finds what it is there for."""
import pathlib
import tempfile

import include_direction


def faults_of(path: str, text: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        source = root / path
        source.parent.mkdir(parents=True)
        source.write_text(text)
        return include_direction.faults(root)


assert faults_of("common/base/a.h", '#include "common/fit/shard.h"\n') == [
    "common/base/a.h:1: common/base may not include common/fit/shard.h"]
assert faults_of("daemons/mnode/pool/a.cc", '\n#include "daemons/snode/x.h"\n') == [
    "daemons/mnode/pool/a.cc:2: daemons/mnode/pool may not include daemons/snode/x.h"]
assert faults_of("daemons/pnode/paging/a.cc", '#include "proto/ashlar/v1/node.pb.h"\n') != []
assert faults_of("common/strange/a.h", "") != []
assert faults_of("common/fit/a.h", '#include "common/fabric/contract.h"\n#include <vector>\n') == []
print("ok")
