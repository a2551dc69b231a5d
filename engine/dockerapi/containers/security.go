package containers

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// security is what SecurityOpt says.
type security struct {
	seccomp, apparmor string
	noNewPrivileges   bool
	writableCgroups   bool
}

func securityOptions(opts []string) (security, error) {
	var s security
	for _, o := range opts {
		switch o {
		case "no-new-privileges":
			s.noNewPrivileges = true
			continue
		case "writable-cgroups":
			s.writableCgroups = true
			continue
		case "disable":
			continue
		}
		key, value, ok := strings.Cut(o, "=")
		if !ok {
			if key, value, ok = strings.Cut(o, ":"); !ok {
				return s, route.Internalf("invalid --security-opt 1: %q", o)
			}
		}
		switch key {
		case "label":
		case "apparmor":
			s.apparmor = value
		case "seccomp":
			s.seccomp = value
		case "no-new-privileges", "writable-cgroups":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return s, route.Internalf("invalid --security-opt 2: %q", o)
			}
			if key == "writable-cgroups" {
				s.writableCgroups = on
			} else {
				s.noNewPrivileges = on
			}
		default:
			return s, route.Internalf("invalid --security-opt 2: %q", o)
		}
	}
	return s, nil
}

// seccompProfile is a profile in the engine's terms: the client sends its text.
func seccompProfile(text string) (string, error) {
	switch text {
	case "", "builtin":
		return "", nil
	case "unconfined":
		return "Unconfined", nil
	}
	var profile struct{}
	if err := json.Unmarshal([]byte(text), &profile); err != nil {
		return "", route.Internal(fmt.Errorf("Decoding seccomp profile failed: %w", err)) //nolint:staticcheck // Docker's words
	}
	return strings.TrimSpace(text), nil
}

// hasAppArmor tells whether this kernel confines by profiles; where it does not, they
// are of no effect.
var hasAppArmor = sync.OnceValue(func() bool {
	b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(b), "Y")
})
