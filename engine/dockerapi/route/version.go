package route

import (
	"strconv"
	"strings"
)

// Versions of the API: what is served, and what a request without one means.
const (
	Version    = "1.56"
	MinVersion = "1.24"
)

// CompareVersions orders two API versions as numbers between dots; parts that are
// missing or no numbers are zero.
func CompareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if d := part(as, i) - part(bs, i); d != 0 {
			if d < 0 {
				return -1
			}
			return 1
		}
	}
	return 0
}

func part(list []string, i int) int {
	if i >= len(list) {
		return 0
	}
	n, _ := strconv.Atoi(list[i]) // 0 for what is none
	return n
}
