package platform

import "context"

func (p *process) stopContainers() error                { return nil }
func down(ctx context.Context, c *Config) (bool, error) { return false, nil }
func reset(ctx context.Context, c *Config) error        { return nil }
