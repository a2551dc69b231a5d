package platform

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"skiff.dev/skiff/cli"
)

func TestFreeRange(t *testing.T) {
	for _, c := range []struct {
		want   string
		choose bool
		taken  string
		got    string
		err    string
	}{
		{"10.244.0.0/16", true, "", "10.244.0.0/16", ""},
		{"10.244.0.0/16", true, "0.0.0.0/0", "10.244.0.0/16", ""},
		{"10.244.0.0/16", true, "10.244.0.0/24", "10.245.0.0/16", ""},
		{"10.244.0.0/16", true, "10.244.0.0/16 10.245.7.0/24", "10.246.0.0/16", ""},
		{"10.244.0.0/16", false, "10.244.9.1/32", "", "10.244.0.0/16 overlaps 10.244.9.1/32, which is in use"},
		{"10.244.0.0/16", true, "10.0.0.0/8", "", "no range of the size of 10.244.0.0/16 is free"},
		{"nonsense", true, "", "", "no '/'"},
	} {
		var taken []netip.Prefix
		for _, s := range strings.Fields(c.taken) {
			taken = append(taken, netip.MustParsePrefix(s))
		}
		got, err := freeRange(c.want, c.choose, taken)
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%+v: error %v", c, err)
		case c.err == "" && (err != nil || got.String() != c.got):
			t.Errorf("%+v: got %v, %v", c, got, err)
		}
	}
}

// Instances come and go at once, and the directory of their claims with them: at
// no time do two hold one range.
func TestClaimsAreExclusive(t *testing.T) {
	was := instancesDir
	instancesDir = filepath.Join(t.TempDir(), "instances")
	defer func() { instancesDir = was }()
	var mu sync.Mutex
	held := map[string]string{}
	var wg sync.WaitGroup
	for i := range 8 {
		data := filepath.Join(t.TempDir(), fmt.Sprint("data", i))
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for range 100 {
				c := &Config{Dirs: cli.Dirs{Data: data}, PodCIDR: defaultPods, ServiceCIDR: defaultServices,
					open: map[string]bool{"pod-cidr": true, "service-cidr": true}}
				if err := claimRanges(c, nil); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if other := held[c.PodCIDR]; other != "" {
					t.Errorf("%s and %s hold %s", data, other, c.PodCIDR)
				}
				held[c.PodCIDR] = data
				mu.Unlock()
				mu.Lock()
				delete(held, c.PodCIDR)
				mu.Unlock()
				if err := releaseRanges(data); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
