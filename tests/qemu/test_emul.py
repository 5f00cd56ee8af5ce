# SPDX-License-Identifier: BSD-2-Clause
"""Instructions on device memory, as a guest sees them."""
import re

from amber import BUILD, Image, Machine, check, compile_manifest


def test_emul(ctx):
    """Vector moves, strings, locked and other instructions do to a device what they do to RAM."""
    manifest = compile_manifest(ctx.folder, "emul", """/dts-v1/;
/ { compatible = "amber,guest"; vm-name = "emul"; memory-mib = <16>; cpu-model = "host";
  boot { method = "linux"; kernel = "emul.bz"; };
  devices { serial0 { compatible = "amber,ns16550"; index = <0>; };
            testdev { compatible = "amber,testdev"; }; }; };
""")
    image = Image(ctx.folder, manifests=[manifest], payloads=[BUILD / "guests/emul.bz"])
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.cmd("vm start emul")
        m.attach("emul")
        text = m.expect(r"(.*?)emul: \d+ ok, \d+ bad", 60).group(0)
        m.detach()
        bad = re.findall(r"BAD [^\r\n]*", text)
        check(not bad and text.endswith(" 0 bad"), f"{'; '.join(bad) or text}")
        check("cannot emulate" not in m.cmd("log"), m.cmd("log"))
