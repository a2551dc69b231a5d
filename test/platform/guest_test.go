//go:build guest

package platform

import (
	"os"
	"strings"
	"testing"
)

// TestMissingModules lets the kernel load some modules and refuses others, on a
// machine where none are loaded yet: each start says what is missing and leaves
// nothing; a start that lacks nothing comes up.
func TestMissingModules(t *testing.T) {
	const modprobe = "/proc/sys/kernel/modprobe"
	helper := t.TempDir() + "/modprobe"
	c := begin(t)
	for _, step := range []struct{ loads, missing, hint string }{
		{"nothing", "the kernel has no overlay file system", "modprobe overlay"},
		{"overlay", "the kernel lacks what pods' networks need", "modprobe -a bridge nf_tables;"},
		{"overlay|bridge|veth", "the kernel lacks what pods' networks need", "modprobe -a nf_tables;"},
		{"overlay|bridge|veth|proto-12|nfnetlink|subsys-10", "the kernel lacks what pods' networks need", "modprobe -a nft_chain_nat nft_ct nft_fib_ipv4 nft_reject_ipv4 nft_nat nft_masq nft_numgen;"},
	} {
		script := "#!/bin/sh\necho \"$*\" | grep -qE '" + step.loads + "' && exec /sbin/modprobe \"$@\"\nexit 1\n"
		if err := os.WriteFile(helper, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(modprobe, []byte(helper), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := c.up()
		if err == nil || !strings.Contains(out, step.missing) || !strings.Contains(out, step.hint) {
			t.Errorf("where %s is loaded, want %q, %q: %v\n%s", step.loads, step.missing, step.hint, err, out)
		}
		if _, err := os.Lstat(c.data); err == nil {
			t.Errorf("where %s is loaded, the start leaves %s", step.loads, c.data)
		}
	}
	if err := os.WriteFile(modprobe, []byte("/sbin/modprobe"), 0o644); err != nil {
		t.Fatal(err)
	}
	must(t)(c.up())
	if err := c.reset(); err != nil {
		t.Error(err)
	}
	noTraces(t, c)
}
