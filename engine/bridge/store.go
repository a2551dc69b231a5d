package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"skiff.dev/skiff/engine/wholefile"
)

// store keeps networks and connections over a restart.
type store interface {
	// beginNetwork notes a network that is being made; saveNetwork one that is there.
	beginNetwork(n *Network) error
	saveNetwork(n *Network) error
	removeNetwork(id string) error
	// endBegun forgets a network that was being made.
	endBegun(id string) error
	saveSandbox(r *record) error
	removeSandbox(container string) error
	load() (*state, error)
}

// state is what a store remembers.
type state struct {
	networks  []*Network
	begun     []*Network // that were being made
	sandboxes []*record
}

var containerID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// dirStore is files below a directory: ID.json a network, ID.begun one that is being
// made, endpoints/ID.json a container's connections. A network is on disk when its
// method returns; connections do not outlive the machine's running, so for them the
// kernel's memory is enough.
type dirStore struct{ dir string }

func (d dirStore) network(id, ending string) string { return filepath.Join(d.dir, id+ending) }
func (d dirStore) sandbox(id string) string         { return filepath.Join(d.dir, "endpoints", id+".json") }

func (d dirStore) beginNetwork(n *Network) error {
	return writeFile(d.network(n.ID, ".begun"), n, true)
}

func (d dirStore) saveNetwork(n *Network) error {
	if err := writeFile(d.network(n.ID, ".json"), n, true); err != nil {
		return err
	}
	return remove(d.network(n.ID, ".begun"))
}

func (d dirStore) removeNetwork(id string) error {
	return errors.Join(remove(d.network(id, ".json")), remove(d.network(id, ".begun")), wholefile.SyncDir(d.dir))
}

func (d dirStore) endBegun(id string) error { return remove(d.network(id, ".begun")) }

func (d dirStore) saveSandbox(r *record) error { return writeFile(d.sandbox(r.Container), r, false) }

func (d dirStore) removeSandbox(container string) error { return remove(d.sandbox(container)) }

func (d dirStore) load() (*state, error) {
	if err := os.MkdirAll(filepath.Join(d.dir, "endpoints"), 0o700); err != nil {
		return nil, err
	}
	var out state
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(d.dir, e.Name())
		switch filepath.Ext(e.Name()) {
		case ".json", ".begun":
			n, err := readNetwork(path)
			if err != nil {
				return nil, err
			}
			if strings.HasSuffix(path, ".json") {
				out.networks = append(out.networks, n)
			} else {
				out.begun = append(out.begun, n)
			}
		case ".tmp":
			if err := remove(path); err != nil {
				return nil, err
			}
		}
	}
	files, err := filepath.Glob(d.sandbox("*"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		r, err := parseRecord(raw)
		if err != nil {
			// Torn by a crash of the machine, which ended the container too.
			if err := remove(f); err != nil {
				return nil, err
			}
			continue
		}
		out.sandboxes = append(out.sandboxes, r)
	}
	return &out, nil
}

func readNetwork(path string) (*Network, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	n, err := parseNetwork(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// parseNetwork reads a network's file.
func parseNetwork(raw []byte) (*Network, error) {
	var n Network
	if err := json.Unmarshal(raw, &n); err != nil {
		return nil, err
	}
	if !containerID.MatchString(n.ID) || n.Name == "" {
		return nil, errors.New("no network")
	}
	for _, p := range n.IPAM.Config {
		if bad := p.check(); len(bad) > 0 {
			return nil, errors.New(bad[0])
		}
		if n.Driver == DriverBridge && (!p.Subnet.IsValid() || !p.Gateway.IsValid()) {
			return nil, errors.New("a pool without subnet or gateway")
		}
	}
	return &n, nil
}

// parseRecord reads a container's file.
func parseRecord(raw []byte) (*record, error) {
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, err
	}
	if !containerID.MatchString(r.Container) {
		return nil, errors.New("no container")
	}
	for _, c := range r.Ends {
		if c == nil || (c.Link != "" && !interfaceName.MatchString(c.Link)) {
			return nil, errors.New("no connection")
		}
	}
	return &r, nil
}

// writeFile puts v in the place of path's content, at once.
func writeFile(path string, v any, durable bool) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if durable {
		return wholefile.Keep(path, raw, 0o600)
	}
	return wholefile.Replace(path, raw, 0o600)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
