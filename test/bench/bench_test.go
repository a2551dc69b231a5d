package main

import "testing"

func TestMetrics(t *testing.T) {
	out := `goos: linux
BenchmarkOneClient-2   	     500	   1234567 ns/op	       800.0 added-p50-µs	      1500 commit-p50-µs	       700.5 fsync-p50-µs
PASS
`
	m, err := metrics(out, "BenchmarkOneClient")
	if err != nil || m["fsync-p50-µs"] != 700.5 || m["commit-p50-µs"] != 1500 {
		t.Errorf("%v %v", m, err)
	}
	for _, bad := range []string{"", "BenchmarkOneClient-2 1 x ns/op"} {
		if _, err := metrics(bad, "BenchmarkOneClient"); err == nil {
			t.Errorf("%q gives no error", bad)
		}
	}
}
