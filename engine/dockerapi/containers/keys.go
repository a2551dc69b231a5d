package containers

import (
	"fmt"
	"strings"
)

// defaultKeys are ctrl-p, ctrl-q.
var defaultKeys = []byte{16, 17}

// detachKeys reads "ctrl-p,ctrl-q" and the like; "" is the default.
func detachKeys(s string) ([]byte, error) {
	if s == "" {
		return defaultKeys, nil
	}
	var out []byte
	for _, k := range strings.Split(s, ",") {
		if len(k) == 1 {
			out = append(out, k[0])
			continue
		}
		c, ok := strings.CutPrefix(k, "ctrl-")
		if !ok || len(c) != 1 {
			return nil, fmt.Errorf("unknown key %q", k)
		}
		switch b := c[0]; {
		case b >= 'a' && b <= 'z':
			out = append(out, b-'a'+1)
		case strings.IndexByte("@[\\]^_", b) >= 0:
			out = append(out, b-'@')
		default:
			return nil, fmt.Errorf("unknown key %q", k)
		}
	}
	return out, nil
}
