package platform

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/auth/pki"
	"skiff.dev/skiff/cli"
)

// instancesDir tells instances on one machine of each other's ranges. A lock on
// the directory makes choosing one at a time.
var instancesDir = "/run/skiff-instances" // tests have one of their own

// claim is what one instance holds.
type claim struct {
	DataDir     string `json:"dataDir"`
	PodCIDR     string `json:"podCIDR"`
	ServiceCIDR string `json:"serviceCIDR"`
}

// claimRanges settles the two ranges: those given, or the first free ones, and
// notes them for other instances.
func claimRanges(c *Config, routes []netip.Prefix) error {
	dir, err := lockInstances()
	if err != nil {
		return err
	}
	defer dir.Close()
	taken := routes
	others, err := otherClaims(c.Data)
	if err != nil {
		return err
	}
	for _, o := range others {
		for _, s := range []string{o.PodCIDR, o.ServiceCIDR} {
			if p, err := netip.ParsePrefix(s); err == nil {
				taken = append(taken, p)
			}
		}
	}
	for _, r := range []struct {
		flag  string
		value *string
	}{{"pod-cidr", &c.PodCIDR}, {"service-cidr", &c.ServiceCIDR}} {
		p, err := freeRange(*r.value, c.open[r.flag], taken)
		if err != nil {
			return &Fault{What: fmt.Sprintf("--%s: %v", r.flag, err), Do: "give a range that nothing on this machine uses"}
		}
		*r.value = p.String()
		taken = append(taken, p)
	}
	raw, err := json.Marshal(claim{c.Data, c.PodCIDR, c.ServiceCIDR})
	if err != nil {
		return err
	}
	return pki.WriteFile(filepath.Join(instancesDir, c.Instance()+".json"), raw)
}

// lockInstances makes the directory and takes the lock on it, which closing it
// gives back. Who had the lock before may have removed the directory: then the lock
// keeps nobody out, and the next directory is taken.
func lockInstances() (*os.File, error) {
	for {
		if err := os.MkdirAll(instancesDir, 0o700); err != nil {
			return nil, err
		}
		dir, err := os.Open(instancesDir)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
			dir.Close()
			return nil, fmt.Errorf("lock %s: %w", instancesDir, err)
		}
		ours, err := dir.Stat()
		if err != nil {
			dir.Close()
			return nil, err
		}
		if now, err := os.Stat(instancesDir); err == nil && os.SameFile(ours, now) {
			return dir, nil
		}
		dir.Close()
	}
}

func releaseRanges(dataDir string) error {
	dir, err := lockInstances()
	if err != nil {
		return err
	}
	defer dir.Close()
	err = os.Remove(filepath.Join(instancesDir, (&cli.Dirs{Data: dataDir}).Instance()+".json"))
	if os.IsNotExist(err) {
		err = nil
	}
	os.Remove(instancesDir) // goes when it is empty
	return err
}

// otherClaims reads what other instances hold; one whose data directory is gone
// holds nothing.
func otherClaims(dataDir string) ([]claim, error) {
	files, err := filepath.Glob(filepath.Join(instancesDir, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []claim
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		var c claim
		if err := json.Unmarshal(raw, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		if c.DataDir != dataDir && exists(c.DataDir) {
			out = append(out, c)
		}
	}
	return out, nil
}

// freeRange returns want if it is free. If it is not and may be chosen, the first
// free range of the same size after it.
func freeRange(want string, choose bool, taken []netip.Prefix) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(want)
	if err != nil {
		return netip.Prefix{}, err
	}
	by := overlapping(p, taken)
	if by == nil {
		return p, nil
	}
	if !choose {
		return p, fmt.Errorf("%s overlaps %s, which is in use", p, by)
	}
	for next := p; ; {
		next = following(next)
		if !next.IsValid() || !netip.MustParsePrefix("10.0.0.0/8").Contains(next.Addr()) {
			return p, fmt.Errorf("no range of the size of %s is free", p)
		}
		if overlapping(next, taken) == nil {
			return next, nil
		}
	}
}

func overlapping(p netip.Prefix, taken []netip.Prefix) *netip.Prefix {
	for i := range taken {
		if taken[i].Bits() > 0 && taken[i].Overlaps(p) {
			return &taken[i]
		}
	}
	return nil
}

// following is the next range of the same size.
func following(p netip.Prefix) netip.Prefix {
	a := p.Addr().As4()
	n := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	next := n + 1<<(32-p.Bits())
	if next < n {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(next >> 24), byte(next >> 16), byte(next >> 8), byte(next)}), p.Bits())
}
