package gunzip

import (
	"bytes"
	"compress/flate"
	stdgzip "compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
)

// samples are data of every kind that a compressor meets.
func samples() map[string][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300<<10)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	few := make([]byte, 200<<10)
	for i := range few {
		few[i] = "abc\n"[rng.IntN(4)]
	}
	skewed := make([]byte, 400<<10) // codes of every length
	for i := range skewed {
		for skewed[i] < 250 && rng.IntN(2) == 0 {
			skewed[i]++
		}
	}
	far := bytes.Repeat(noise[:32<<10], 8) // matches as far as they reach
	program, _ := os.ReadFile(os.Args[0])
	return map[string][]byte{
		"none": nil, "one": {7}, "zeros": make([]byte, 1<<20), "noise": noise, "few": few, "skewed": skewed, "far": far,
		"text": []byte(strings.Repeat("the quick brown fox jumps over the lazy dog, ", 5000)), "program": program[:min(len(program), 3<<20)],
	}
}

func pack(t testing.TB, data []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := stdgzip.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Name, w.Comment, w.Extra = "a name", "a comment", []byte("more")
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRead(t *testing.T) {
	for name, data := range samples() {
		for _, level := range []int{stdgzip.NoCompression, stdgzip.BestSpeed, stdgzip.DefaultCompression, stdgzip.BestCompression, stdgzip.HuffmanOnly} {
			packed := pack(t, data, level)
			for how, r := range map[string]io.Reader{
				"whole": bytes.NewReader(packed), "halves": iotest.HalfReader(bytes.NewReader(packed)), "end": iotest.DataErrReader(bytes.NewReader(packed)),
			} {
				got, err := io.ReadAll(NewReader(r))
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s at level %d, %s: %d bytes of %d, %v", name, level, how, len(got), len(data), err)
				}
			}
			var out bytes.Buffer
			if n, err := NewReader(bytes.NewReader(packed)).WriteTo(&out); err != nil || int(n) != len(data) || !bytes.Equal(out.Bytes(), data) {
				t.Errorf("%s at level %d, written: %d bytes, %v", name, level, n, err)
			}
		}
	}
}

func TestReadByteByByte(t *testing.T) {
	data := samples()["skewed"][:100<<10]
	got, err := io.ReadAll(iotest.OneByteReader(NewReader(iotest.OneByteReader(bytes.NewReader(pack(t, data, 6))))))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
	}
}

// Members begin anew: none reaches into the one before.
func TestMembers(t *testing.T) {
	var packed, want []byte
	for i := range 50 {
		data := bytes.Repeat([]byte(fmt.Sprint(i)), i*1000)
		packed, want = append(packed, pack(t, data, i%10)...), append(want, data...)
	}
	got, err := io.ReadAll(NewReader(bytes.NewReader(packed)))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
	reaching := append(pack(t, want, 6), 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255)
	var b bytes.Buffer
	w, err := flate.NewWriterDict(&b, 6, want)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(want[len(want)-1000:]) //nolint:errcheck // a buffer takes everything
	w.Close()
	reaching = append(reaching, b.Bytes()...)
	if _, err := io.ReadAll(NewReader(bytes.NewReader(reaching))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a member that refers to the one before: %v", err)
	}
}

// What is cut off anywhere is not taken for whole.
func TestCutOff(t *testing.T) {
	packed := pack(t, samples()["text"][:2000], 6)
	for n := range packed {
		if _, err := io.ReadAll(NewReader(bytes.NewReader(packed[:n]))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: %v", n, len(packed), err)
		}
	}
	if _, err := io.ReadAll(NewReader(bytes.NewReader(append(packed, "more"...)))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("followed by something else: %v", err)
	}
	if _, err := io.ReadAll(NewReader(iotest.ErrReader(os.ErrPermission))); !errors.Is(err, os.ErrPermission) {
		t.Errorf("an error of the source: %v", err)
	}
}

// Each flipped bit is noticed, save those that say nothing of the data.
func TestDamaged(t *testing.T) {
	data := samples()["text"][:3000]
	packed := pack(t, data, 6)
	body := bytes.Index(packed, []byte("a comment\x00")) + 10
	for i := body; i < len(packed); i++ {
		for bit := range 8 {
			bad := bytes.Clone(packed)
			bad[i] ^= 1 << bit
			got, err := io.ReadAll(NewReader(bytes.NewReader(bad)))
			if err == nil && !bytes.Equal(got, data) {
				t.Errorf("byte %d, bit %d: other data without an error", i, bit)
			}
		}
	}
}

// same compares with another implementation: both give the same data, or both an error.
func same(t *testing.T, packed []byte) {
	t.Helper()
	const limit = 8 << 20
	got, err := io.ReadAll(io.LimitReader(NewReader(bytes.NewReader(packed)), limit))
	var want []byte
	z, werr := stdgzip.NewReader(bytes.NewReader(packed))
	if werr == nil {
		want, werr = io.ReadAll(io.LimitReader(z, limit))
	}
	if (err == nil) != (werr == nil) {
		t.Errorf("%v, but %v", err, werr)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Errorf("%d bytes, but %d others", len(got), len(want))
	}
}

func TestSameAsStandard(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for name, data := range samples() {
		packed := pack(t, data[:min(len(data), 20<<10)], 6)
		for range 300 {
			bad := bytes.Clone(packed)
			for range 1 + rng.IntN(3) {
				bad[rng.IntN(len(bad))] = byte(rng.Uint32())
			}
			same(t, bad[:len(bad)-rng.IntN(2)*rng.IntN(8)])
			if t.Failed() {
				t.Fatal(name)
			}
		}
	}
}

func FuzzSameAsStandard(f *testing.F) {
	for _, data := range samples() {
		for _, level := range []int{stdgzip.NoCompression, stdgzip.DefaultCompression, stdgzip.HuffmanOnly} {
			f.Add(pack(f, data[:min(len(data), 5000)], level))
		}
	}
	f.Add(append(pack(f, []byte("a"), 6), pack(f, []byte("b"), 1)...))
	f.Fuzz(func(t *testing.T, packed []byte) { same(t, packed) })
}

// BenchmarkProgram decompresses this program's text, beside the library.
func BenchmarkProgram(b *testing.B) {
	data := samples()["program"]
	packed := pack(b, data, 6)
	for name, open := range map[string]func(io.Reader) io.Reader{
		"gunzip": func(r io.Reader) io.Reader { return NewReader(r) },
		"library": func(r io.Reader) io.Reader {
			z, err := gzip.NewReader(r)
			if err != nil {
				b.Fatal(err)
			}
			return z
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for range b.N {
				if _, err := io.Copy(io.Discard, struct{ io.Reader }{open(bytes.NewReader(packed))}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
