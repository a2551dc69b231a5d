package workload

import (
	"os"
	"slices"
	"syscall"
	"time"
)

// bareDisk is a file on the disk where the instance lives, for what a write and
// fdatasync take there by themselves.
type bareDisk struct {
	f  *os.File
	at int64
}

func openBareDisk() (*bareDisk, error) {
	f, err := os.CreateTemp("", "skiff-bench-sync-")
	if err != nil {
		return nil, err
	}
	d := &bareDisk{f: f}
	if _, err = f.Write(make([]byte, 1<<20)); err == nil {
		err = f.Sync()
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// sync writes 512 bytes and returns how long they took to the disk.
func (d *bareDisk) sync() (time.Duration, error) {
	begin := time.Now()
	if _, err := d.f.WriteAt(make([]byte, 512), d.at); err != nil {
		return 0, err
	}
	d.at = (d.at + 512) % (1 << 20)
	err := syscall.Fdatasync(int(d.f.Fd()))
	return time.Since(begin), err
}

func (d *bareDisk) close() {
	d.f.Close()
	os.Remove(d.f.Name())
}

// Median sorts times.
func Median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// MS is a duration in milliseconds.
func MS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
