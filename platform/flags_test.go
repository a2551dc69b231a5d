package platform

import (
	"testing"

	"github.com/spf13/pflag"
)

// TestTold: /flagz tells what the process runs with, and asking changes nothing.
func TestTold(t *testing.T) {
	c := &Config{}
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.flags(fs)
	if err := fs.Parse([]string{"--listen=127.0.0.1:1", "--goaway-chance=0.01", "--enable-priority-and-fairness=false"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := c.told()
		if got["listen"] != "127.0.0.1:1" || got["goaway-chance"] != "0.01" || got["enable-priority-and-fairness"] != "false" || got["log-level"] != "info" {
			t.Fatal(got)
		}
	}
}
