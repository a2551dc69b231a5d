package main

import (
	"os"
	"slices"
	"syscall"
	"time"
)

// syncTime is the median time of a small write and fdatasync on the disk of the
// temporary directory, where the instance lives.
func syncTime() (time.Duration, error) {
	f, err := os.CreateTemp("", "skiff-bench-sync-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	var times []time.Duration
	for i := range 200 {
		begin := time.Now()
		if _, err := f.WriteAt(make([]byte, 512), int64(i)*512); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		times = append(times, time.Since(begin))
	}
	return median(times), nil
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
