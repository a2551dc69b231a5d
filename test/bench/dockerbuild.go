package main

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// rebuild is a build in which nothing has changed.
func (b *dockerBench) rebuild(ctx context.Context) error {
	return b.inTurns(10, "rebuild with nothing changed, p50", 0.15, func(e *dockerEngine) (time.Duration, error) {
		return e.timed(ctx, "build", "-q", "-t", smallImage, filepath.Join(b.dir, "small"))
	})
}

const copySize = 100 << 20

// copy is a build whose context is a new file of 100 MB each time, beside the time
// that the disk takes for such a file.
func (b *dockerBench) copy(ctx context.Context) error {
	took := make([][]time.Duration, len(b.engines)+1)
	for n := range 3 {
		data := noise(uint64(n), copySize)
		d, err := writeSynced(filepath.Join(b.dir, "disk"), data)
		if err != nil {
			return err
		}
		took[len(b.engines)] = append(took[len(b.engines)], d)
		for i, e := range b.engines {
			dir := filepath.Join(b.dir, "large")
			if err := writeContext(dir, "large", map[string][]byte{"data": data}); err != nil {
				return err
			}
			if d, err = e.timed(ctx, "build", "-q", "-t", "skiff/bench-large:1", dir); err != nil {
				return err
			}
			took[i] = append(took[i], d)
		}
	}
	disk := median(took[len(b.engines)])
	b.t.row("a file of 100 MB written and synced", disk.Seconds(), 0, "s", false)
	for i, e := range b.engines {
		b.row(e, "COPY of a new file of 100 MB", median(took[i]).Seconds(), 1.5*disk.Seconds(), "s", false)
	}
	return nil
}

// noise is data that does not compress, the same for the same seed.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0] = byte(seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

func writeSynced(path string, data []byte) (time.Duration, error) {
	defer os.Remove(path)
	begin := time.Now()
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return 0, err
	}
	err = f.Sync()
	return time.Since(begin), err
}
