package bridge

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"skiff.dev/skiff/kernel/link"
	"skiff.dev/skiff/kernel/nft"
)

var update = flag.Bool("update", false, "rewrite testdata")

// sample has one of everything.
func sample(direct bool) *rules {
	r := newRules("skiff-networks", direct)
	r.networks["a"] = netRule{bridge: "docker0", hidden: true}
	r.networks["b"] = netRule{bridge: "br-0123456789ab", internal: true}
	r.networks["c"] = netRule{bridge: "br-ba9876543210", closed: true}
	r.turns[2] = 7
	four, six := netip.MustParseAddrPort("172.17.0.2:80"), netip.MustParseAddrPort("[fd00::2]:80")
	r.forwards["x"] = []forward{
		{Binding{TCP, 80, netip.IPv4Unspecified(), 8080}, four},
		{Binding{TCP, 80, netip.IPv6Unspecified(), 8080}, six},
		{Binding{UDP, 80, netip.MustParseAddr("127.0.0.1"), 8081}, four},
		{Binding{UDP, 80, netip.IPv6Unspecified(), 8081}, four}, // a relay's
	}
	return r
}

// TestRules compares the tables with testdata; go test -update rewrites it.
func TestRules(t *testing.T) {
	for name, direct := range map[string]bool{"tables.nft": false, "direct.nft": true} {
		f := &nft.Fake{}
		r := sample(direct)
		must(t, f.Apply(r.full(false)))
		must(t, f.Apply(r.full(true)))
		path := filepath.Join("testdata", name)
		if *update {
			must(t, os.WriteFile(path, []byte(f.Dump()), 0o644))
		}
		want, err := os.ReadFile(path)
		must(t, err)
		if got := f.Dump(); got != string(want) {
			t.Errorf("%s: the tables are\n%s", name, got)
		}
	}
}

// TestChanges: a change is as good as a table written anew.
func TestChanges(t *testing.T) {
	step, whole := &nft.Fake{}, &nft.Fake{}
	tb := &tables{nft: step, host: &link.Fake{}, rules: newRules("t", false)}
	must(t, tb.begin())
	before := step.Transactions()
	from := sample(false)
	for id, n := range from.networks {
		must(t, tb.edit(func(r *rules) { r.networks[id] = n }))
	}
	must(t, tb.setTurns(from.turns))
	must(t, tb.publish("x", from.forwards["x"]))
	must(t, tb.publish("y", from.forwards["x"][:1]))
	must(t, tb.publish("y", nil))
	must(t, tb.publish("x", from.forwards["x"]))
	from.table = "t"
	must(t, whole.Apply(from.full(false)))
	must(t, whole.Apply(from.full(true)))
	if a, b := step.Dump(), whole.Dump(); a != b {
		t.Errorf("changed\n%s\nanew\n%s", a, b)
	}
	if n := step.Transactions() - before; n > 16 {
		t.Errorf("%d transactions", n)
	}
	// Someone flushes the ruleset.
	must(t, dropTables(step, "t"))
	must(t, tb.check())
	if a, b := step.Dump(), whole.Dump(); a != b {
		t.Errorf("after a flush\n%s\nwant\n%s", a, b)
	}
	must(t, dropTables(step, "t"))
	must(t, tb.publish("x", nil))
	delete(from.forwards, "x")
	must(t, whole.Apply(from.full(false)))
	must(t, whole.Apply(from.full(true)))
	if a, b := step.Dump(), whole.Dump(); a != b {
		t.Errorf("after a flush and a change\n%s\nwant\n%s", a, b)
	}
}
