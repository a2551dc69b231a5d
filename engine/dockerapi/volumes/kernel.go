package volumes

import "skiff.dev/skiff/kernel/mount"

// kernel is the Mounter that mounts.
type kernel struct{}

func (kernel) Mount(source, target, kind, options string) error {
	return mount.Filesystem(source, target, kind, options)
}

func (kernel) Unmount(target string) error { return mount.Unmount(target) }

func (kernel) IsMount(target string) (bool, error) { return mount.IsMount(target) }
