// Package judge is what the tests that play recordings share: where the recordings
// are, and how many equal answers a file must have.
package judge

import (
	"os"
	"path/filepath"
	"testing"
)

// Dir finds the recordings of a name beside the repository, or in the folder that
// SKIFF_SHARED names, and skips the test where there are none.
func Dir(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv("SKIFF_SHARED"); dir != "" {
		return filepath.Join(dir, name)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		at := filepath.Join(dir, "shared", name)
		if _, err := os.Stat(at); err == nil {
			return at
		}
	}
	t.Skip("needs the recorded answers beside the repository")
	return ""
}

// Score counts equal answers. A file with fewer than its floor fails the test.
type Score struct {
	Floors     map[string]int
	equal, all int
}

// File adds a file's answers and prints how many are equal.
func (s *Score) File(t testing.TB, name string, equal, all int) {
	t.Helper()
	t.Logf("%-28s %4d of %4d equal", name, equal, all)
	if floor := s.Floors[name]; equal < floor {
		t.Errorf("%s: %d of %d equal, %d before; -file %s -diff shows them", name, equal, all, floor, name)
	}
	s.equal += equal
	s.all += all
}

// All prints the sum of all files.
func (s *Score) All(t testing.TB) {
	t.Helper()
	t.Logf("%-28s %4d of %4d equal", "all", s.equal, s.all)
}
