package volumes

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/docker/go-units"

	"skiff.dev/skiff/engine/dockerapi/route"
)

const nameChars = `[a-zA-Z0-9][a-zA-Z0-9_.-]`

var namePattern = regexp.MustCompile(`^` + nameChars + `+$`)

// maxName is what a directory's name may be.
const maxName = 255

func checkName(name string) error {
	if len(name) == 1 {
		return route.Invalidf("volume name is too short, names should be at least two alphanumeric characters")
	}
	if !namePattern.MatchString(name) {
		return route.Invalidf("%q includes invalid characters for a local volume name, only %q are allowed. If you intended to pass a host directory, use absolute path", name, nameChars)
	}
	if len(name) > maxName {
		return route.Invalidf("volume name is too long, names should be at most %d characters", maxName)
	}
	return nil
}

// needs are the options that an option does not go without, in order.
var needs = []struct{ option, other string }{
	{"device", "type"}, {"type", "device"}, {"o", "device"}, {"o", "type"},
}

// checkOptions refuses what the local driver does not take. An option of size is a
// quota, which no filesystem here enforces.
func checkOptions(options map[string]string) error {
	for k := range options {
		switch k {
		case "type", "o", "device", "size":
		default:
			return route.Invalidf("invalid option: %q", k)
		}
	}
	if device := options["device"]; options["type"] == "cifs" && device != "" {
		u, err := url.Parse(device)
		if err != nil {
			return route.Invalid(fmt.Errorf("error parsing mount device url: %w", err))
		}
		if u.Port() != "" {
			return route.Invalidf("port not allowed in CIFS device URL, include 'port' in 'o='")
		}
	}
	if text, ok := options["size"]; ok {
		size, err := units.RAMInBytes(text)
		if err != nil {
			return route.Invalid(err)
		}
		if size > 0 {
			return route.Invalidf("quota size requested but no quota support")
		}
	}
	for _, n := range needs {
		_, has := options[n.option]
		_, other := options[n.other]
		if has && !other {
			return route.Invalidf("missing required option: %q", n.other)
		}
	}
	return nil
}

// mountable tells whether something is mounted while the volume is in use.
func (e *entry) mountable() bool {
	return e.meta.Options["device"] != "" || e.meta.Options["type"] != ""
}

// mount mounts what a volume's options name. Passwords do not get into errors.
func (s *Store) mount(e *entry) error {
	kind, device, options := e.meta.Options["type"], e.meta.Options["device"], e.meta.Options["o"]
	if device == "" {
		return errors.New("missing device in volume options")
	}
	device, options, err := remote(kind, device, options, resolve)
	if err != nil {
		return err
	}
	if err := s.o.Mounts.Mount(device, s.data(e.Name), kind, options); err != nil {
		if secret := value(options, "password"); secret != "" {
			err = errors.New(strings.ReplaceAll(err.Error(), secret, "********"))
		}
		return err
	}
	return nil
}

func resolve(host string) (string, error) {
	ip, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return "", fmt.Errorf("error resolving passed in network volume address: %w", err)
	}
	return ip.String(), nil
}

// remote puts addresses in the place of names, which the kernel does not resolve.
func remote(kind, device, options string, resolve func(string) (string, error)) (string, string, error) {
	if kind != "nfs" && kind != "cifs" {
		return device, options, nil
	}
	if addr := value(options, "addr"); addr != "" && net.ParseIP(addr).To4() == nil {
		ip, err := resolve(addr)
		if err != nil {
			return "", "", err
		}
		return device, strings.Replace(options, "addr="+addr, "addr="+ip, 1), nil
	}
	if kind != "cifs" {
		return device, options, nil
	}
	u, err := url.Parse(device)
	if err != nil {
		return "", "", fmt.Errorf("error parsing mount device url: %w", err)
	}
	if u.Host == "" || net.ParseIP(u.Host) != nil {
		return device, options, nil
	}
	if u.Host, err = resolve(u.Host); err != nil {
		return "", "", err
	}
	device, err = url.QueryUnescape(u.String())
	if err != nil {
		return "", "", fmt.Errorf("failed to unescape device URL: %w", err)
	}
	return device, options, nil
}

// value is that of an option among many.
func value(options, name string) string {
	for _, o := range strings.Split(options, ",") {
		if v, ok := strings.CutPrefix(o, name+"="); ok {
			return v
		}
	}
	return ""
}
