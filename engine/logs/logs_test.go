package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func logFile(t *testing.T) string { return filepath.Join(t.TempDir(), "0.log") }

func write(t *testing.T, w *Writer, stream string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		text, partial := strings.CutSuffix(l, "\\")
		if err := w.Write(Line{Time: time.Now(), Stream: stream, Partial: partial, Text: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string, o Options) (stdout, stderr string) {
	t.Helper()
	var a, b bytes.Buffer
	if err := Read(t.Context(), path, o, &a, &b); err != nil {
		t.Fatal(err)
	}
	return a.String(), b.String()
}

func ptr(n int64) *int64 { return &n }

func TestReadOptions(t *testing.T) {
	path := logFile(t)
	lines := `2016-10-06T00:17:09.669794202Z stdout F one
2016-10-06T00:17:10.113242941Z stderr F bad
2016-10-06T00:17:11.000000000Z stdout P tw
2016-10-06T00:17:11.100000000Z stdout F o
not a line
2016-10-06T00:17:12.000000000Z stdout F:tag 
2016-10-06T00:17:13.000000000+02:00 stdout F three
`
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	since, _ := time.Parse(time.RFC3339, "2016-10-06T00:17:11Z")
	for name, c := range map[string]struct {
		o        Options
		out, err string
	}{
		"all":    {Options{}, "one\ntwo\n\nthree\n", "bad\n"},
		"tail":   {Options{Tail: ptr(2)}, "\nthree\n", ""},
		"tail 0": {Options{Tail: ptr(0)}, "", ""},
		"since":  {Options{Since: since}, "two\n\n", ""},
		"limit":  {Options{LimitBytes: ptr(6)}, "one\n", "ba"},
		"times": {Options{Timestamps: true, Tail: ptr(5)},
			"2016-10-06T00:17:11.000000000Z two\n2016-10-06T00:17:12.000000000Z \n2016-10-06T00:17:13.000000000+02:00 three\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := read(t, path, c.o)
			if out != c.out || err != c.err {
				t.Errorf("got %q and %q, want %q and %q", out, err, c.out, c.err)
			}
		})
	}
}

func TestReadMissing(t *testing.T) {
	err := Read(t.Context(), logFile(t), Options{}, io.Discard, nil)
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

func TestRotation(t *testing.T) {
	path := logFile(t)
	w, err := NewWriter(path, 400, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i := range 40 {
		write(t, w, Stdout, fmt.Sprintf("line %02d", i))
	}
	old := Rotated(path)
	if len(old) != 2 {
		t.Fatalf("%d rotated files, want 2: %v", len(old), old)
	}
	for _, f := range append(old, path) {
		st, err := os.Stat(f)
		if err != nil || st.Size() > 400 {
			t.Errorf("%s: %v, %v", f, st.Size(), err)
		}
	}
	out, _ := read(t, path, Options{})
	if !strings.HasSuffix(out, "line 38\nline 39\n") || !strings.HasPrefix(out, "line ") {
		t.Errorf("got %q", out)
	}
	out, _ = read(t, path, Options{Tail: ptr(12)})
	if strings.Count(out, "\n") != 12 || !strings.HasPrefix(out, "line 28\n") {
		t.Errorf("tail over rotated files: %q", out)
	}
}

// chanWriter hands on what is written.
type chanWriter chan string

func (c chanWriter) Write(p []byte) (int, error) { c <- string(p); return len(p), nil }

func TestFollow(t *testing.T) {
	path := logFile(t)
	w, err := NewWriter(path, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	write(t, w, Stdout, "old", "before")
	done := make(chan struct{})
	out := make(chanWriter)
	ended := make(chan error)
	go func() {
		ended <- Read(context.Background(), path, Options{Follow: true, Done: done, Tail: ptr(1)}, out, nil)
	}()
	expect := func(want string) {
		t.Helper()
		if got := <-out; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	expect("before\n")
	write(t, w, Stdout, "a")
	expect("a\n")
	write(t, w, Stdout, "b")
	if err := os.Rename(path, path+".20200101-000000"); err != nil {
		t.Fatal(err)
	}
	if err := w.Reopen(); err != nil {
		t.Fatal(err)
	}
	write(t, w, Stdout, "c")
	expect("b\n")
	expect("c\n")
	write(t, w, Stdout, "last")
	close(done)
	expect("last\n")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	path := logFile(t)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Read(ctx, path, Options{Follow: true}, io.Discard, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func TestSplitter(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	for name, c := range map[string]struct {
		in   []string
		want []string // "P" or "F" and the length or text
	}{
		"lines":       {[]string{"a\nb\n\n"}, []string{"Fa", "Fb", "F"}},
		"pieces":      {[]string{"a", "b", "c\nd"}, []string{"Fabc", "Fd"}},
		"exact":       {[]string{long + "\n"}, []string{"F" + long}},
		"exact later": {[]string{long, "\n"}, []string{"F" + long}},
		"too long":    {[]string{long + "y\n"}, []string{"P" + long, "Fy"}},
		"very long":   {[]string{long + long + "y"}, []string{"P" + long, "P" + long, "Fy"}},
		"grows":       {[]string{"z", long + "\n"}, []string{"Pz" + long[1:], "Fx"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := Splitter{Stream: Stdout}
			var got []string
			show := func(lines []Line) {
				for _, l := range lines {
					got = append(got, map[bool]string{true: "P", false: "F"}[l.Partial]+string(l.Text))
				}
			}
			for _, in := range c.in {
				show(s.Split(time.Time{}, []byte(in), nil))
			}
			show(s.End(time.Time{}, nil))
			if len(got) != len(c.want) {
				t.Fatalf("%d lines, want %d", len(got), len(c.want))
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("line %d differs: %.40q... (%d bytes)", i, got[i], len(got[i]))
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("2016-10-06T00:17:09.669794202Z stdout F one\n"))
	f.Add([]byte("2016-10-06T00:17:09Z stderr P:x two"))
	f.Add([]byte(" stdout F \n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := Parse(raw)
		if err != nil || bytes.IndexByte(l.Text, '\n') >= 0 {
			return
		}
		if y := l.Time.UTC().Year(); y < 0 || y > 9999 {
			return
		}
		again, err := Parse(Append(nil, l))
		if err != nil || !again.Time.Equal(l.Time) || again.Stream != l.Stream || again.Partial != l.Partial || !bytes.Equal(again.Text, l.Text) {
			t.Fatalf("%+v came back as %+v, %v", l, again, err)
		}
	})
}

// FuzzRead feeds whole files: no panic, and tail never shows more lines than
// asked for.
func FuzzRead(f *testing.F) {
	f.Add([]byte("2016-10-06T00:17:09.669794202Z stdout F one\n2016-10-06T00:17:09Z stdout F two\n"), int64(1))
	f.Add([]byte("\n\n\n2016-10-06T00:17:09Z stdout P x"), int64(3))
	f.Fuzz(func(t *testing.T, data []byte, tail int64) {
		path := filepath.Join(t.TempDir(), "0.log")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := Read(t.Context(), path, Options{Tail: &tail}, &out, &out); err != nil {
			t.Fatal(err)
		}
		if int64(bytes.Count(out.Bytes(), []byte{'\n'})) > max(tail, 0) && len(data) < maxRaw {
			t.Fatalf("%d lines for a tail of %d", bytes.Count(out.Bytes(), []byte{'\n'}), tail)
		}
	})
}
