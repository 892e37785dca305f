<?php

namespace App\Console\Commands;

use App\Services\Ringback;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Http;

class CatchUp extends Command
{
    protected $signature = 'ringback:catch-up';

    protected $description = 'Record what the feed has and this receiver missed: after downtime, and every night';

    public function handle(Ringback $ringback): int
    {
        $after = DB::table('feed')->max('after');
        while (($events = $this->page($after))['data']) {
            foreach ($events['data'] as $event) {
                $ringback->record($event['id'], $event);
            }
            $after = $events['next_after']; // Kept only now that all up to it is recorded.
            DB::table('feed')->updateOrInsert(['one' => 1], ['after' => $after]);
        }
        $this->info('has everything up to ' . ($after ?? 'the beginning'));

        return self::SUCCESS;
    }

    /** The events behind that number; without one from the oldest that is kept. */
    private function page(?int $after): array
    {
        $server = config('services.ringback');
        $query = ['limit' => 200] + ($after === null ? [] : ['after' => $after]);

        // 410: events are gone from the feed. GET /v1/recharges has what became of each recharge.
        return Http::withToken($server['token'])->timeout(30)->get("{$server['url']}/v1/events", $query)->throw()->json();
    }
}
