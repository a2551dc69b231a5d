package server

import (
	"errors"
	"testing"
)

func TestClassify(t *testing.T) {
	for msg, code := range map[string]int{
		"executable file `x` not found in $PATH: No such file or directory":                 127,
		"open executable: Permission denied":                                                126,
		"open executable: Operation not permitted":                                          126,
		`unable to start container process: exec: "x": executable file not found in $PATH`:  127,
		`unable to start container process: exec: "/x": stat /x: no such file or directory`: 127,
		`unable to start container process: exec: "/x": permission denied`:                  126,
		`unable to start container process: exec: "/bin": is a directory`:                   126,
		`unable to start container process: exec /x: exec format error`:                     126,
		"mount `/a` to `/b`: No such file or directory":                                     128,
		"write to `/sys/fs/cgroup/memory/x`: Permission denied":                             128,
	} {
		var se *startError
		if !errors.As(classify(msg), &se) || se.code != code {
			t.Errorf("%s: %d, want %d", msg, se.code, code)
		}
	}
}

func FuzzLastError(f *testing.F) {
	f.Add([]byte(`{"msg":"x","level":"error"}` + "\nplain\n"))
	f.Fuzz(func(t *testing.T, b []byte) { lastError(b) })
}

func FuzzParseStat(f *testing.F) {
	f.Add("12 (a) b) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 100 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 256")
	f.Add(")")
	f.Fuzz(func(t *testing.T, s string) { parseStat(s) })
}

func FuzzOOMKills(f *testing.F) {
	f.Add([]byte("low 0\noom_kill 3\n"))
	f.Fuzz(func(t *testing.T, b []byte) { oomKills(b) })
}
