package volume_test

import (
	"os"
	"testing"

	"skiff.dev/skiff/volume"
	"skiff.dev/skiff/volume/volumetest"
)

func TestVolumes(t *testing.T) { volumetest.Run(t, &volumetest.Mounter{}) }

func TestVolumesInKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts")
	}
	volumetest.Run(t, volume.Kernel{})
}
