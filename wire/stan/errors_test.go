package stan

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition"
)

// Aim: every error that storing can end with has a text of its own for clients;
// anything else is not shown to them. Method: the store's errors by hand,
// wrapped as they come.
func TestStoreErrorsAreTold(t *testing.T) {
	seen := map[string]bool{}
	for _, err := range []error{
		partition.ErrNoChannel, partition.ErrNotLeader, partition.ErrUnknownOutcome, partition.ErrNoSpace, partition.ErrClosed,
		partition.ErrTooLarge, partition.ErrCorrupt,
	} {
		text := told(&partition.ChannelError{Channel: "foo", Err: fmt.Errorf("append: %w", err)})
		require.NotErrorIs(t, text, errInternal, "%v", err)
		require.False(t, seen[text.Error()])
		seen[text.Error()] = true
	}
	require.ErrorIs(t, told(errors.New("secret")), errInternal)
	require.ErrorIs(t, told(context.Canceled), errInternal)
}
