package pieces

import (
	"bytes"
	"compress/gzip"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"
)

func unpack(t testing.TB, raw []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	z.Multistream(false)
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestStream: pieces and text of any size are one gzip member, with its checksum.
func TestStream(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var out bytes.Buffer
		var want []byte
		s := NewStream(&out, nil)
		for range r.IntN(6) {
			text := make([]byte, r.IntN(200<<10)>>(r.IntN(3)*8))
			for i := range text {
				text[i] = byte(r.IntN(7))
			}
			want = append(want, text...)
			if r.IntN(2) == 0 {
				if err := s.Text(text); err != nil {
					t.Fatal(err)
				}
				continue
			}
			cut := r.IntN(len(text) + 1)
			p, err := Compress(text[:cut], text[cut:])
			if err != nil || p.Size() != len(text) {
				t.Fatalf("%d of %d bytes, %v", p.Size(), len(text), err)
			}
			if err := s.Piece(p); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := unpack(t, out.Bytes()); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes came back of %d", len(got), len(want))
		}
	}
}

func FuzzCombine(f *testing.F) {
	f.Add([]byte("first"), []byte("second"))
	f.Add([]byte{}, []byte{0})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		whole := crc32.ChecksumIEEE(append(bytes.Clone(a), b...))
		if got := combine(crc32.ChecksumIEEE(a), shiftOf(len(b)), crc32.ChecksumIEEE(b)); got != whole {
			t.Errorf("%08x, not %08x", got, whole)
		}
	})
}

// TestShiftIsAPower: lengths that no test can make.
func TestShiftIsAPower(t *testing.T) {
	for _, n := range []int{1, 3, 1 << 20, 1 << 29, 5 << 30, 1 << 40} {
		if got, want := shiftOf(2*n), multiply(shiftOf(n), shiftOf(n)); got != want {
			t.Errorf("%d: %08x, not %08x", n, got, want)
		}
	}
}
