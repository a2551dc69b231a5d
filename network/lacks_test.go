package network

import (
	"os"
	"testing"
)

// TestLacks: a kernel that runs the other tests lacks nothing.
func TestLacks(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	if modules, err := Lacks(); err != nil || len(modules) > 0 {
		t.Errorf("lacks %q: %v", modules, err)
	}
}
