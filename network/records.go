package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// record is what is remembered of a pod, one JSON file each, so that a new process
// goes on with pods that run.
type record struct {
	UID       string     `json:"uid"`
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	NetNS     string     `json:"netns"`
	Link      string     `json:"link"`
	Addr      netip.Addr `json:"addr"`
	HostPorts []HostPort `json:"hostPorts,omitempty"`
}

// records is a directory of them.
type records struct{ dir string }

func (r records) file(uid string) (string, error) {
	if uid == "" || strings.ContainsAny(uid, "/\x00") || strings.HasPrefix(uid, ".") {
		return "", fmt.Errorf("network: %q is no uid", uid)
	}
	return filepath.Join(r.dir, uid+".json"), nil
}

// load reads all records. A file that is torn or foreign is deleted: its pod is
// set up again.
func (r records) load() ([]record, error) {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	var out []record
	for _, e := range entries {
		file := filepath.Join(r.dir, e.Name())
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("network: %w", err)
		}
		rec, err := parseRecord(raw)
		if err != nil || e.Name() != rec.UID+".json" {
			if err := os.Remove(file); err != nil {
				return nil, fmt.Errorf("network: %w", err)
			}
			continue
		}
		out = append(out, rec)
	}
	return out, nil
}

func parseRecord(raw []byte) (record, error) {
	var rec record
	if err := json.Unmarshal(raw, &rec); err != nil {
		return rec, err
	}
	if rec.UID == "" || rec.Link == "" || !rec.Addr.Is4() {
		return rec, errors.New("network: incomplete record")
	}
	return rec, nil
}

// save writes a record whole or not at all. It is not synced: after a power cut
// the pods are gone too.
func (r records) save(rec record) error {
	file, err := r.file(rec.UID)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	tmp := file + ".new"
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	return nil
}

func (r records) remove(uid string) error {
	file, err := r.file(uid)
	if err != nil {
		return err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("network: %w", err)
	}
	return nil
}
