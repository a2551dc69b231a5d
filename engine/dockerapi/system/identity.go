package system

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"skiff.dev/skiff/engine/wholefile"
)

const identityFile = "engine-id"

// identity is a name for this engine that no other has: a UUID that is made once.
func identity(root string) (string, error) {
	path := filepath.Join(root, identityFile)
	b, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(b)); err == nil && id != "" {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the engine's identity: %w", err)
	}
	var u [16]byte
	rand.Read(u[:]) //nolint:errcheck // it never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	id := fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
	if err := wholefile.Keep(path, []byte(id), 0o600); err != nil {
		return "", fmt.Errorf("the engine's identity: %w", err)
	}
	return id, nil
}
