// SPDX-License-Identifier: Apache-2.0

import com.lmax.disruptor.BatchEventProcessor;
import com.lmax.disruptor.BatchEventProcessorBuilder;
import com.lmax.disruptor.BlockingWaitStrategy;
import com.lmax.disruptor.BusySpinWaitStrategy;
import com.lmax.disruptor.EventHandler;
import com.lmax.disruptor.RingBuffer;
import com.lmax.disruptor.Sequence;
import com.lmax.disruptor.SequenceBarrier;
import com.lmax.disruptor.SleepingWaitStrategy;
import com.lmax.disruptor.WaitStrategy;
import com.lmax.disruptor.YieldingWaitStrategy;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * The Disruptor's side of bench_pipeline: one topology in one process, so that its compiler sees
 * only what this topology needs. Arguments: TOPOLOGY (one_to_one, multicast N, pipeline, diamond)
 * as "multicast:3", BYTES of an element, WAIT strategy, CAPACITY. Its threads are stage-0, the
 * producer, and stage-1 on. Then one run a line:
 *
 * <pre>
 * rate COUNT              answers elements per second; COUNT is a multiple of 64
 * hop COUNT PAUSE_NS      answers PERCENTILES of nanoseconds per element
 * </pre>
 */
public final class Topology<E> {
    private static final int BATCH = 64;
    private static final double[] PERCENTILES = {50, 90, 99, 99.9, 100};

    /** What an event holds. One class of these is loaded, so that its calls are inlined. */
    private abstract static class Shape<E> {
        abstract E make();
        abstract void fill(E event, long n);
        abstract long value(E event);
        abstract void add(E event, long n);
        abstract void multiply(E event, long n);
        abstract Marks marks(E event);
    }

    private static class Marks {
        boolean fizz;
        boolean buzz;
    }

    private static final class Narrow extends Marks {
        long value;
    }

    private static final class NarrowShape extends Shape<Narrow> {
        @Override
        Narrow make() {
            return new Narrow();
        }
        @Override
        void fill(final Narrow event, final long n) {
            event.value = n;
        }
        @Override
        long value(final Narrow event) {
            return event.value;
        }
        @Override
        void add(final Narrow event, final long n) {
            event.value += n;
        }
        @Override
        void multiply(final Narrow event, final long n) {
            event.value *= n;
        }
        @Override
        Marks marks(final Narrow event) {
            return event;
        }
    }

    private static final class Wide extends Marks {
        long a;
        long b;
        long c;
        long d;
        long e;
        long f;
        long g;
        long h;
    }

    private static final class WideShape extends Shape<Wide> {
        @Override
        Wide make() {
            return new Wide();
        }
        @Override
        void fill(final Wide event, final long n) {
            event.a = n;
            event.b = n;
            event.c = n;
            event.d = n;
            event.e = n;
            event.f = n;
            event.g = n;
            event.h = n;
        }
        @Override
        long value(final Wide event) {
            return event.a ^ event.d ^ event.h;
        }
        @Override
        void add(final Wide event, final long n) {
            event.a += n;
            event.b += n;
            event.c += n;
            event.d += n;
            event.e += n;
            event.f += n;
            event.g += n;
            event.h += n;
        }
        @Override
        void multiply(final Wide event, final long n) {
            event.a *= n;
            event.b *= n;
            event.c *= n;
            event.d *= n;
            event.e *= n;
            event.f *= n;
            event.g *= n;
            event.h *= n;
        }
        @Override
        Marks marks(final Wide event) {
            return event;
        }
    }

    private enum Step { SUM, ADD, MULTIPLY, FIZZ, BUZZ, COUNT, LATENCY }

    /** One consumer. */
    private static final class Stage<E> implements EventHandler<E> {
        private final Shape<E> shape;
        private final Step step;
        private final long number;
        private long sum;
        private long last;
        private CountDownLatch done;
        private long finished;
        private long[] latencies;
        private int seen;

        Stage(final Shape<E> shape, final Step step, final long number) {
            this.shape = shape;
            this.step = step;
            this.number = number;
        }

        @Override
        public void onEvent(final E event, final long sequence, final boolean endOfBatch) {
            switch (step) {
                case SUM:
                    sum += shape.value(event) ^ number;
                    break;
                case ADD:
                    shape.add(event, 3);
                    break;
                case MULTIPLY:
                    shape.multiply(event, 3);
                    break;
                case FIZZ:
                    shape.marks(event).fizz = shape.value(event) % 3 == 0;
                    break;
                case BUZZ:
                    shape.marks(event).buzz = shape.value(event) % 5 == 0;
                    break;
                case COUNT:
                    sum += shape.marks(event).fizz && shape.marks(event).buzz ? 1 : 0;
                    break;
                default:
                    latencies[seen++] = System.nanoTime() - shape.value(event);
                    break;
            }
            if (sequence == last) {
                finished = System.nanoTime();
                done.countDown();
            }
        }
    }

    private final Shape<E> shape;
    private final RingBuffer<E> ring;
    private final List<Stage<E>> stages = new ArrayList<>();
    private final List<BatchEventProcessor<E>> processors = new ArrayList<>();
    private final List<ExecutorService> threads = new ArrayList<>();
    private final String name;
    private int ends;  // stages from here on have no followers

    private Topology(final Shape<E> shape, final String name, final WaitStrategy wait,
                     final int capacity) {
        this.shape = shape;
        this.name = name;
        ring = RingBuffer.createSingleProducer(shape::make, capacity, wait);
        addThread();
        if (name.equals("one_to_one")) {
            add(Step.SUM, 0);
        } else if (name.startsWith("multicast:")) {
            final int consumers = Integer.parseInt(name.substring("multicast:".length()));
            for (int i = 0; i < consumers; i++) {
                add(Step.SUM, i);
            }
        } else if (name.equals("pipeline")) {
            final Sequence first = add(Step.ADD, 0);
            final Sequence second = add(Step.MULTIPLY, 0, first);
            ends = 2;
            add(Step.SUM, 0, second);
        } else if (name.equals("diamond")) {
            final Sequence fizz = add(Step.FIZZ, 0);
            final Sequence buzz = add(Step.BUZZ, 0);
            ends = 2;
            add(Step.COUNT, 0, fizz, buzz);
        } else {
            add(Step.LATENCY, 0);
        }
        for (int i = ends; i < processors.size(); i++) {
            ring.addGatingSequences(processors.get(i).getSequence());
        }
    }

    private void addThread() {
        final String threadName = "stage-" + threads.size();
        final ExecutorService one = Executors.newSingleThreadExecutor(work -> {
            final Thread thread = new Thread(work, threadName);
            thread.setDaemon(true);
            return thread;
        });
        // It runs, and so bears its name, by which it is bound to a CPU.
        CompletableFuture.runAsync(() -> { }, one).join();
        threads.add(one);
    }

    private Sequence add(final Step step, final long number, final Sequence... after) {
        final SequenceBarrier barrier = ring.newBarrier(after);
        final Stage<E> stage = new Stage<>(shape, step, number);
        final BatchEventProcessor<E> processor =
            new BatchEventProcessorBuilder().build(ring, barrier, stage);
        stages.add(stage);
        processors.add(processor);
        addThread();
        return processor.getSequence();
    }

    private long produce(final long count) {
        final long started = System.nanoTime();
        for (long i = 0; i < count; i += BATCH) {
            final long high = ring.next(BATCH);
            final long low = high - BATCH + 1;
            for (long sequence = low; sequence <= high; sequence++) {
                shape.fill(ring.get(sequence), i + sequence - low);
            }
            ring.publish(low, high);
        }
        return started;
    }

    private long produceSlowly(final long count, final long pause) {
        long due = System.nanoTime();
        for (long i = 0; i < count; i++) {
            while (System.nanoTime() < due) {
                Thread.onSpinWait();
            }
            final long sequence = ring.next();
            final long now = System.nanoTime();
            shape.fill(ring.get(sequence), now);
            ring.publish(sequence);
            due = now + pause;
        }
        return due;
    }

    private interface Producer {
        long run();
    }

    /** returns nanoseconds from the first element to the last */
    private long run(final long count, final Producer producer) throws Exception {
        final CountDownLatch done = new CountDownLatch(stages.size() - ends);
        final long last = ring.getCursor() + count;
        final List<Future<?>> running = new ArrayList<>();
        for (int i = 0; i < stages.size(); i++) {
            final Stage<E> stage = stages.get(i);
            stage.sum = 0;
            stage.last = i < ends ? -2 : last;
            stage.done = done;
            running.add(threads.get(i + 1).submit(processors.get(i)));
        }
        for (final BatchEventProcessor<E> each : processors) {
            while (!each.isRunning()) {
                Thread.yield();
            }
        }
        final long started = threads.get(0).submit(producer::run).get();
        done.await();
        for (final BatchEventProcessor<E> each : processors) {
            each.halt();
        }
        long finished = 0;
        for (int i = 0; i < stages.size(); i++) {
            running.get(i).get();
            finished = Math.max(finished, stages.get(i).finished);
        }
        return finished - started;
    }

    private double rate(final long count) throws Exception {
        final long nanoseconds = run(count, () -> produce(count));
        final long sum = count * (count - 1) / 2;
        for (int i = ends; i < stages.size(); i++) {
            final long expected = name.equals("pipeline") ? 3 * (sum + 3 * count)
                : name.equals("diamond") ? (count + 14) / 15 : sum;
            if (stages.get(i).sum != expected) {
                throw new IllegalStateException("wrong sum " + stages.get(i).sum);
            }
        }
        return count * 1e9 / nanoseconds;
    }

    private String hop(final int count, final long pause) throws Exception {
        final Stage<E> stage = stages.get(0);
        stage.latencies = new long[count];
        stage.seen = 0;
        run(count, () -> produceSlowly(count, pause));
        Arrays.sort(stage.latencies);
        final StringBuilder answer = new StringBuilder();
        for (final double percent : PERCENTILES) {
            final int at = Math.min(count - 1, (int) (count * percent / 100));
            answer.append(stage.latencies[at]).append(' ');
        }
        return answer.toString();
    }

    private static WaitStrategy strategy(final String name) {
        switch (name) {
            case "BusySpin":
                return new BusySpinWaitStrategy();
            case "Yielding":
                return new YieldingWaitStrategy();
            case "Sleeping":
                return new SleepingWaitStrategy();
            default:
                return new BlockingWaitStrategy();
        }
    }

    public static void main(final String[] arguments) throws Exception {
        final WaitStrategy wait = strategy(arguments[2]);
        final int capacity = Integer.parseInt(arguments[3]);
        final Topology<?> topology = arguments[1].equals("8")
            ? new Topology<>(new NarrowShape(), arguments[0], wait, capacity)
            : new Topology<>(new WideShape(), arguments[0], wait, capacity);
        final BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("ready");
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            final String[] words = line.split(" ");
            if (words[0].equals("rate")) {
                System.out.println(topology.rate(Long.parseLong(words[1])));
            } else {
                System.out.println(
                    topology.hop(Integer.parseInt(words[1]), Long.parseLong(words[2])));
            }
        }
    }
}
