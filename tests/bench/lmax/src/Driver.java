// SPDX-License-Identifier: Apache-2.0

import com.lmax.disruptor.BatchEventProcessor;
import com.lmax.disruptor.BatchEventProcessorBuilder;
import com.lmax.disruptor.BusySpinWaitStrategy;
import com.lmax.disruptor.EventHandler;
import com.lmax.disruptor.RingBuffer;
import com.lmax.disruptor.Sequence;
import com.lmax.disruptor.SequenceBarrier;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * The Disruptor's side of bench_ring, which starts it, pins its two threads by their names and
 * then asks for one run a line, so that ours and theirs take turns:
 *
 * <pre>
 * rate BATCH COUNT        answers elements per second
 * round_trip COUNT        answers nanoseconds
 * </pre>
 */
public final class Driver {
    private static final int CAPACITY = 1 << 16;

    private static final class LongEvent {
        long value;
    }

    /** Sums what it sees and notes when the last element came. */
    private static final class Summer implements EventHandler<LongEvent> {
        private long sum;
        private long last;
        private CountDownLatch done;
        private long finished;

        @Override
        public void onEvent(final LongEvent event, final long sequence, final boolean endOfBatch) {
            sum += event.value;
            if (sequence == last) {
                finished = System.nanoTime();
                done.countDown();
            }
        }
    }

    private final ExecutorService producer = thread("lmax-producer");
    private final ExecutorService consumer = thread("lmax-consumer");

    private final RingBuffer<LongEvent> ring = newRing();
    private final Summer summer = new Summer();
    private final BatchEventProcessor<LongEvent> summing = processor(ring, summer);

    private final RingBuffer<LongEvent> ping = newRing();
    private final RingBuffer<LongEvent> pong = newRing();
    private final SequenceBarrier pongBarrier = pong.newBarrier();
    private final Sequence pongSequence = new Sequence();
    private final BatchEventProcessor<LongEvent> answering =
        processor(ping, (event, sequence, endOfBatch) -> send(pong, event.value));

    private Driver() {
        pong.addGatingSequences(pongSequence);
    }

    private static ExecutorService thread(final String name) {
        final ExecutorService one = Executors.newSingleThreadExecutor(work -> {
            final Thread thread = new Thread(work, name);
            thread.setDaemon(true);
            return thread;
        });
        // It runs, and so bears its name, by which it is bound to a CPU.
        CompletableFuture.runAsync(() -> { }, one).join();
        return one;
    }

    private static RingBuffer<LongEvent> newRing() {
        return RingBuffer.createSingleProducer(
            LongEvent::new, CAPACITY, new BusySpinWaitStrategy());
    }

    private static BatchEventProcessor<LongEvent> processor(
        final RingBuffer<LongEvent> from, final EventHandler<LongEvent> handler) {
        final BatchEventProcessor<LongEvent> processor =
            new BatchEventProcessorBuilder().build(from, from.newBarrier(), handler);
        from.addGatingSequences(processor.getSequence());
        return processor;
    }

    private static void send(final RingBuffer<LongEvent> to, final long value) {
        final long sequence = to.next();
        to.get(sequence).value = value;
        to.publish(sequence);
    }

    private static long produce(
        final RingBuffer<LongEvent> to, final int batch, final long count) {
        final long started = System.nanoTime();
        if (batch == 1) {
            for (long i = 0; i < count; i++) {
                send(to, i);
            }
            return started;
        }
        for (long i = 0; i < count; i += batch) {
            final long high = to.next(batch);
            final long low = high - batch + 1;
            for (long sequence = low; sequence <= high; sequence++) {
                to.get(sequence).value = i + sequence - low;
            }
            to.publish(low, high);
        }
        return started;
    }

    private double rate(final int batch, final long count) throws Exception {
        summer.sum = 0;
        summer.last = ring.getCursor() + count;
        summer.done = new CountDownLatch(1);
        final var running = consumer.submit(summing);
        while (!summing.isRunning()) {
            Thread.onSpinWait();
        }
        final long started = producer.submit(() -> produce(ring, batch, count)).get();
        summer.done.await();
        summing.halt();
        running.get();
        check(summer.sum, count);
        return count * 1e9 / (summer.finished - started);
    }

    private double roundTrip(final long count) throws Exception {
        final var running = consumer.submit(answering);
        while (!answering.isRunning()) {
            Thread.onSpinWait();
        }
        final double nanoseconds = producer.submit(() -> {
            final long started = System.nanoTime();
            long sum = 0;
            for (long i = 0; i < count; i++) {
                send(ping, i);
                final long wanted = pongSequence.get() + 1;
                pongBarrier.waitFor(wanted);
                sum += pong.get(wanted).value;
                pongSequence.set(wanted);
            }
            final double each = (System.nanoTime() - started) / (double) count;
            check(sum, count);
            return each;
        }).get();
        answering.halt();
        running.get();
        return nanoseconds;
    }

    private static void check(final long sum, final long count) {
        if (sum != count * (count - 1) / 2) {
            throw new IllegalStateException("wrong sum " + sum);
        }
    }

    public static void main(final String[] arguments) throws Exception {
        final Driver driver = new Driver();
        final BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("ready");
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            final String[] words = line.split(" ");
            if (words[0].equals("rate")) {
                System.out.println(
                    driver.rate(Integer.parseInt(words[1]), Long.parseLong(words[2])));
            } else {
                System.out.println(driver.roundTrip(Long.parseLong(words[1])));
            }
        }
    }
}
